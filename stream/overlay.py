"""What the page draws over a picture: the outline of each face, small enough for every frame.

The lists name points of mediapipe's canonical face mesh (478 points), as published with its face
landmarker. Every line is closed: its last point is joined to its first. The person's right side
comes first, as in the mesh.
"""

from __future__ import annotations

from workers.messages import Face

OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
LEFT_BROW = (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)
LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375),
    *(291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
)
LINES = (OVAL, RIGHT_EYE, LEFT_EYE, RIGHT_BROW, LEFT_BROW, LIPS)

DIGITS = 4
"""0.0001 of a picture 640 wide is 0.06 pixels."""


def outlines(face: Face) -> list[list[list[float]]]:
    """Closed lines of [x, y] over picture width and height, rounded; ready for JSON."""
    xy = face.landmarks[:, :2].astype(float).round(DIGITS)
    return [xy[list(line)].tolist() for line in LINES]
