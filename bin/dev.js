#!/usr/bin/env node
// Starts the sources, without a build. Written so that a Node.js of any age can read it and say that it is too old.
// libuv reads this when its thread pool starts, which is at the first use: file syncs run in the pool, and
// four threads are too few for the installation's own eight syncs beside its reads.
process.env.UV_THREADPOOL_SIZE = process.env.UV_THREADPOOL_SIZE || "16";

if (parseInt(process.versions.node, 10) < 24) {
  console.error(
    "drydock needs Node.js 24 or newer; this is " +
      process.version +
      " (" +
      process.execPath +
      "): see https://nodejs.org/download",
  );
  process.exit(2);
} else {
  import("./start.js")
    .then((start) => start.start("../src/cli/"))
    .then((code) => {
      process.exit(code);
    });
}
