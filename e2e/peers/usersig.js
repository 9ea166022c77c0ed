// Prints the UserSig that the official package from npm makes: node usersig.js PACKAGE_FOLDER SDKAPPID KEY USER.
const [folder, sdkappid, key, user] = process.argv.slice(2);
const { Api } = require(folder);
console.log(new Api(Number(sdkappid), key).genUserSig(user, 3600));
