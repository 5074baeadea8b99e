// Which labels stand on the picture, and in which order: a list that reshuffled with every estimate
// could not be read.

const MARGIN = 0.06;

/** The `count` likeliest labels of `labels`; those of `before` keep their places unless clearly beaten. */
export function rank(labels, before, count) {
  const p = (name) => labels[name].probability;
  const listed = before.filter((name) => name in labels).slice(0, count);
  const others = Object.keys(labels).filter((name) => !listed.includes(name)).sort((a, b) => p(b) - p(a));
  while (listed.length < count && others.length) listed.push(others.shift());
  for (const name of others) {
    const weakest = listed.reduce((a, b) => (p(b) < p(a) ? b : a), listed[0]);
    if (p(name) > p(weakest) + MARGIN) listed[listed.indexOf(weakest)] = name;
  }
  for (let i = 1; i < listed.length; i += 1) {
    if (p(listed[i]) > p(listed[i - 1]) + MARGIN) [listed[i - 1], listed[i]] = [listed[i], listed[i - 1]];
  }
  return listed;
}
