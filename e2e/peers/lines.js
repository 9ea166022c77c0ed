// Calls `take` with each line of a stream. Lines end at \n alone: readline ends them at U+2028, too, which may stand in JSON as it is.
module.exports = (stream, take) => {
  let rest = '';
  stream.setEncoding('utf8').on('data', (more) => {
    const lines = (rest + more).split('\n');
    rest = lines.pop();
    lines.forEach(take);
  });
};
