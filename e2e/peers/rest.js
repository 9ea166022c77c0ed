// An app backend that calls the REST API with Node.js's own fetch and the official UserSig package from npm, as the vendor's samples do:
// node rest.js NODE_FOLDER BASE_URL SDKAPPID KEY ADMIN.
//
// Reads JSON lines, {method: "post", args: [path, body]}, and prints each one's answer as a JSON line. Whom to trust is in
// NODE_EXTRA_CA_CERTS, as for any program that runs on Node.js.
const [folder, base, sdkappid, key, admin] = process.argv.slice(2);
const { Api } = require('node:module').createRequire(folder + '/')('tls-sig-api-v2');

async function post(path, body) {
  const query = new URLSearchParams({
    sdkappid,
    identifier: admin,
    usersig: new Api(Number(sdkappid), key).genUserSig(admin, 3600),
    random: String(Math.floor(Math.random() * 0xffffffff)),
    contenttype: 'json',
  });
  const answer = await fetch(`${base}/v4/${path}?${query}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${path} answered HTTP ${answer.status}`);
  return answer.json();
}

require('./lines.js')(process.stdin, async (line) => console.log(JSON.stringify(await post(...JSON.parse(line).args))));
