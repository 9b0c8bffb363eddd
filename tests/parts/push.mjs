// Push with the JavaScript SDK, as a person would write it: parameters from stdin, answer to stdout.
// Found below the current directory, where the test had npm put it.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const require = createRequire(join(process.cwd(), "package.json"));
const sdk = require("@aws-sdk/client-ec2-instance-connect");

const client = new sdk.EC2InstanceConnectClient({});
try {
  const parameters = JSON.parse(readFileSync(0, "utf8"));
  const answer = await client.send(new sdk.SendSSHPublicKeyCommand(parameters));
  console.log(JSON.stringify({ RequestId: answer.RequestId, Success: answer.Success }));
} catch (error) {
  // A class of the SDK's own for each error of the service's model; else the base class and a name.
  const known = error.name in sdk && error instanceof sdk[error.name];
  console.error(JSON.stringify({ name: error.name, message: error.message, known }));
  process.exitCode = 1;
}
