// tus.mjs URL TOKEN FILE: uploads FILE by tus-js-client, gives up on the way, and goes on from what it remembers, as an app does that
// was closed. Prints the address of the asset and the offset at which it went on.
import { createReadStream, mkdtempSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileUrlStorage } from "tus-js-client/lib.esm/node/urlStorage.js";
import { Upload } from "tus-js-client";

const [url, token, path] = process.argv.slice(2);
const memory = new FileUrlStorage(join(mkdtempSync(join(tmpdir(), "tus-")), "urls.json"));
let asset, resumedAt;

const options = {
  endpoint: `${url}/api/uploads`,
  headers: { Authorization: `Bearer ${token}` },
  metadata: { filename: "勇者.wav", filetype: "audio/wav", tags: "red,blue" },
  chunkSize: 1 << 20,
  uploadSize: statSync(path).size,
  retryDelays: [0, 100, 500, 1000],
  urlStorage: memory,
  storeFingerprintForResuming: true,
  fingerprint: async () => "the file",
  onBeforeRequest: (request) => {
    if (request.getMethod() === "PATCH") resumedAt ??= Number(request.getHeader("Upload-Offset"));
  },
  onAfterResponse: (_, answer) => {
    asset = answer.getHeader("Location-Asset") ?? asset;
  },
};

function upload(more) {
  return new Promise((resolve, reject) => {
    const u = new Upload(createReadStream(path), { ...options, onSuccess: resolve, onError: reject, ...more(() => u, resolve) });
    u.findPreviousUploads().then((known) => {
      if (known.length > 0) u.resumeFromPreviousUpload(known[0]);
      u.start();
    }, reject);
  });
}

await upload((self, resolve) => ({
  onChunkComplete: (_, sent) => {
    if (sent >= 2 << 20) self().abort().then(resolve);
  },
}));
resumedAt = undefined;
await upload(() => ({}));
console.log(JSON.stringify({ asset, resumedAt }));
