/** Files of others in which drydock puts a few entries: what they mean afterwards, and that all else stays. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parse } from "yaml";
import { containerd } from "../../../src/trust/stores/containerd.ts";
import { containers } from "../../../src/trust/stores/containers.ts";
import { dockerMirrors } from "../../../src/trust/stores/docker-mirrors.ts";
import { k3s } from "../../../src/trust/stores/k3s.ts";
import { after, type Files } from "./files.ts";

const mark = (made: number) =>
  `# Written by drydock trust (directories made: ${made}), for drydock trust --remove\n`;
const mirrors = { mirrors: ["quay.io", "docker.io"], endpoints: ["registry.lan:5000", "10.0.0.10:5000"] };
const names = ["registry.lan:5000", "10.0.0.10:5000"];

/** What --remove leaves of what an install made of the files. */
function undone(store: typeof k3s, before: Files, changes: object, more: string[] = []): Files {
  const installed = after(store, "install", before, changes, more);
  assert.deepEqual(after(store, "install", installed.files, changes, more).files, installed.files, "a rerun");
  return after(store, "remove", installed.files, changes, more).files;
}

describe("registries.yaml of k3s", () => {
  const path = "/etc/rancher/k3s/registries.yaml";
  const ca = "/etc/rancher/k3s/drydock-registry.lan.crt";
  const theirs = `# the plant's own
mirrors:
  quay.io: # behind the proxy
    endpoint:
    - https://proxy.lan
    rewrite:
      "^": "quay/"
configs:
  proxy.lan:
    auth: {username: u, password: "canary: #1"}
  # not in use
  "registry.lan:5000":
    auth:
      username: me
`;

  it("is made where there is none, marked, and goes again", () => {
    const { files } = after(k3s, "install", {}, { ...mirrors, names });
    const text = files[path];
    assert.ok(typeof text === "string" && text.startsWith(mark(3)));
    assert.deepEqual(parse(text), {
      configs: Object.fromEntries(names.map((name) => [name, { tls: { ca_file: ca } }])),
      mirrors: Object.fromEntries(
        ["quay.io", "docker.io"].map((upstream) => [
          upstream,
          { endpoint: ["https://registry.lan:5000", "https://10.0.0.10:5000"] },
        ]),
      ),
    });
    assert.deepEqual(undone(k3s, {}, { ...mirrors, names }), {});
  });

  it("keeps what is there, with its comments, its order and its mode", () => {
    const before = { [path]: { ls: "-rw------- 1 0 0 9", text: theirs } };
    const { files } = after(k3s, "install", before, { ...mirrors, names });
    const text = String(files[path]);
    const comments = ["# the plant's own\n", "# behind the proxy\n", "# not in use\n", '"canary: #1"'];
    for (const kept of comments) assert.ok(text.includes(kept), text);
    const value = parse(text);
    assert.deepEqual(value.mirrors["quay.io"], {
      endpoint: ["https://registry.lan:5000", "https://10.0.0.10:5000", "https://proxy.lan"],
      rewrite: { "^": "quay/" },
    });
    assert.deepEqual(value.configs["registry.lan:5000"], { auth: { username: "me" }, tls: { ca_file: ca } });
    const left = String(undone(k3s, { [path]: theirs }, { ...mirrors, names })[path]);
    assert.deepEqual(parse(left), parse(theirs));
    for (const kept of comments) assert.ok(left.includes(kept), left);
  });

  it("is left alone where it can't be done, and quotes nothing of it", () => {
    for (const [text, reason] of [
      ["a: [canary", "it is no YAML (BAD_INDENT)"],
      ["- canary\n", "it holds no mapping"],
      ["configs: canary\n", "configs is no mapping"],
      [
        'configs: {"registry.lan:5000": {tls: {ca_file: /canary}}}\n',
        "it names another CA for registry.lan:5000",
      ],
    ] as const) {
      const { files, findings } = after(k3s, "install", { [path]: text });
      assert.deepEqual(files, { [path]: text });
      assert.match(findings.join(), new RegExp(`^error: ${path} is left as it is: `));
      assert.ok(findings.join().includes(reason) || reason.includes("BAD_INDENT"), findings.join());
      assert.ok(!findings.join().includes("canary"));
    }
    assert.deepEqual(after(k3s, "install", { [path]: "configs:\nmirrors:\n" }, mirrors).findings, []);
    assert.deepEqual(after(k3s, "remove", { [path]: "- canary\n" }).findings, [], "nothing of ours is in it");
  });

  it("is read at the next start, which it says, or sees to", () => {
    const made = { "/var/lib/rancher/k3s/agent/etc/containerd/config.toml": "" };
    const reads = `note: k3s reads ${path} at its next start`;
    const waits = after(k3s, "install", made);
    assert.deepEqual([waits.findings, waits.does], [[reads], undefined]);
    assert.deepEqual(after(k3s, "install", waits.files).findings, [], "it has started since");
    assert.deepEqual(after(k3s, "install", waits.files, {}, ["fact k3s unread"]).findings, [reads]);
    const restartRuntimes = { restartRuntimes: true };
    const now = after(k3s, "install", waits.files, restartRuntimes, ["fact k3s unread"]);
    assert.deepEqual([now.findings, now.does], [[], "restart k3s k3s k3s-agent"]);
    assert.equal(after(k3s, "install", made, restartRuntimes).does, "restart k3s k3s k3s-agent");
    assert.equal(after(k3s, "install", {}, restartRuntimes).does, undefined, "it does not run yet");
  });
});

describe("containerd", () => {
  const base = "/etc/containerd/certs.d";
  const config = "/etc/containerd/config.toml";
  /** As `containerd config dump` has it. */
  const dump = (text: string) => [`fact containerd ${Buffer.from(text).toString("hex")}`];
  const cri = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n';
  const lacks =
    "containerd's CRI plugin reads no certs.d there: /etc/containerd/config.toml has no config_path";

  it("has hosts.toml for the registry and for upstreams, and gives all up again", () => {
    const { files } = after(containerd, "install", {}, { ...mirrors, names });
    assert.equal(
      files[`${base}/quay.io/hosts.toml`],
      `${mark(4)}server = "https://quay.io"

[host."https://registry.lan:5000"]
  capabilities = ["pull", "resolve"]
  ca = "${base}/registry.lan:5000/ca.crt"

[host."https://10.0.0.10:5000"]
  capabilities = ["pull", "resolve"]
  ca = "${base}/10.0.0.10:5000/ca.crt"
`,
    );
    assert.match(
      String(files[`${base}/docker.io/hosts.toml`]),
      /server = "https:\/\/registry-1\.docker\.io"/,
    );
    assert.equal(
      files[`${base}/10.0.0.10:5000/hosts.toml`],
      `${mark(4)}server = "https://10.0.0.10:5000"
ca = "${base}/10.0.0.10:5000/ca.crt"

[host."https://10.0.0.10:5000"]
  capabilities = ["pull", "resolve", "push"]
  ca = "${base}/10.0.0.10:5000/ca.crt"
`,
    );
    assert.deepEqual(undone(containerd, {}, { ...mirrors, names }), {});
  });

  it("keeps the mirrors of another registry of drydock's", () => {
    const first = after(
      containerd,
      "install",
      {},
      { mirrors: ["quay.io"], endpoints: ["b.lan"], names: ["b.lan"] },
    );
    const both = after(containerd, "install", first.files, { ...mirrors, names });
    assert.match(
      String(both.files[`${base}/quay.io/hosts.toml`]),
      /registry\.lan:5000"\][\s\S]*10\.0\.0\.10:5000"\][\s\S]*b\.lan"\]\n.*\n {2}ca = ".*\/b\.lan\/ca\.crt"\n$/,
    );
    assert.deepEqual(
      after(containerd, "remove", both.files, { ...mirrors, names, authorities: [] }).files,
      first.files,
    );
  });

  it("adds lines to somebody else's hosts.toml, and takes them out again", () => {
    const before = {
      [`${base}/registry.lan:5000/hosts.toml`]: `# ours for long
server = "https://registry.lan:5000"
[host."https://cache.lan"]
  skip_verify = true
[host . 'https://registry.lan:5000'] # itself
  capabilities = ["pull"]
`,
      [`${base}/quay.io/hosts.toml`]:
        'server = "https://quay.io"\n[host."https://proxy.lan"] # first\n  ca = "/x.crt"\n',
      [`${base}/docker.io/hosts.toml`]: 'server = "https://registry-1.docker.io"\n',
    };
    const { files, findings } = after(containerd, "install", before, { ...mirrors, names });
    assert.deepEqual(findings, []);
    assert.equal(
      files[`${base}/registry.lan:5000/hosts.toml`],
      `# ours for long
server = "https://registry.lan:5000"
ca = "${base}/registry.lan:5000/ca.crt" # drydock trust: registry.lan:5000
[host."https://cache.lan"]
  skip_verify = true
[host . 'https://registry.lan:5000'] # itself
  ca = "${base}/registry.lan:5000/ca.crt" # drydock trust: registry.lan:5000
  capabilities = ["pull"]
`,
    );
    assert.match(
      String(files[`${base}/quay.io/hosts.toml`]),
      /quay\.io"\n\[host\."https:\/\/registry\.lan:5000"\] # drydock[^[]*\[[^[]*\[host\."https:\/\/10\.[^[]*\[[^[]*\[host\."https:\/\/proxy\.lan"\] # first/,
    );
    assert.deepEqual(undone(containerd, before, { ...mirrors, names }), before);
  });

  it("leaves a hosts.toml that names another CA, or can't be read", () => {
    for (const text of [
      'ca = "/their.crt"\n',
      "not TOML",
      'x = """\n[host."https://registry.lan:5000"]\n"""\nca = 1\n',
    ]) {
      const before = { [`${base}/registry.lan:5000/hosts.toml`]: text };
      const { files, findings } = after(containerd, "install", before);
      assert.equal(files[`${base}/registry.lan:5000/hosts.toml`], text);
      assert.deepEqual(findings, [
        `error: ${base}/registry.lan:5000/hosts.toml is not drydock's and is left as it is, without the CA`,
      ]);
    }
    const odd = { [`${base}/registry.lan_5000_`]: { ls: "drwxr-xr-x 2 0 0 9" } };
    assert.deepEqual(after(containerd, "install", odd).findings, [
      `error: containerd looks into ${base}/registry.lan_5000_ instead of ${base}/registry.lan:5000`,
    ]);
  });

  it("gets its config_path only where it may be restarted", () => {
    const before = { [config]: `version = 2\n# the plant's own\n[plugins]\n  x = 9223372036854775807\n` };
    const needs = after(containerd, "install", before, {}, dump(cri));
    assert.deepEqual(
      [needs.files[config], needs.findings, needs.does],
      [before[config], [`note: ${lacks}`], undefined],
    );
    const restart = { restartRuntimes: true };
    const done = after(containerd, "install", before, restart, dump(cri));
    assert.equal(
      done.files[config],
      `${before[config]}[plugins."io.containerd.grpc.v1.cri".registry] # drydock trust: config_path
  config_path = "${base}" # drydock trust: config_path
`,
    );
    assert.deepEqual([done.findings, done.does], [[], "restart containerd containerd"]);
    const set = dump(`${cri}config_path = "${base}"\n`);
    assert.equal(after(containerd, "install", done.files, restart, set).does, undefined);
    const gone = after(containerd, "remove", done.files, restart, set);
    assert.deepEqual([gone.files, gone.does], [before, "restart containerd containerd"]);
    const stays = after(containerd, "remove", done.files, {}, set);
    assert.equal(stays.files[config], done.files[config]);
    assert.deepEqual(stays.findings, [`note: config_path stays in ${config}, where it does no harm`]);
    const other = { ...done.files, [`${base}/theirs.lan/hosts.toml`]: 'server = "https://theirs.lan"\n' };
    assert.deepEqual(after(containerd, "remove", other, restart, set).findings, [], "somebody else needs it");
  });

  it("puts it where the table is, in the place of an empty one, and in the third version's table", () => {
    const restart = { restartRuntimes: true };
    const table = `version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry]\n  config_path = "" # none\n  [plugins.x]\n`;
    const { files } = after(containerd, "install", { [config]: table }, restart, dump(cri));
    assert.equal(
      files[config],
      table.replace(
        '  config_path = "" # none',
        `  config_path = "${base}" # drydock trust: config_path, was:   config_path = "" # none`,
      ),
    );
    assert.equal(
      after(containerd, "remove", files, restart, dump(`${cri}config_path = "${base}"`)).files[config],
      table,
    );
    const third = 'version = 3\n[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = ""\n';
    const made = after(containerd, "install", {}, restart, dump(third)).files;
    assert.equal(
      made[config],
      `${mark(2)}version = 3\n[plugins."io.containerd.cri.v1.images".registry] # drydock trust: config_path\n  config_path = "${base}" # drydock trust: config_path\n`,
    );
    assert.equal(after(containerd, "remove", made, restart, dump(third)).files[config], undefined);
  });

  it("says how by hand where it can't be set", () => {
    const restart = { restartRuntimes: true };
    for (const [text, says, reason] of [
      ["plugins = {x = {}}\nversion = 2\n", cri, lacks],
      ["[plugins.cri]\n", cri, lacks],
      ["", cri, lacks],
      [
        "version = 2\n",
        `${cri}[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]\nendpoint = ["https://x"]`,
        `${lacks}, but registry.mirrors or .configs, which can't stand beside it`,
      ],
    ] as const) {
      const { files, findings, does } = after(containerd, "install", { [config]: text }, restart, dump(says));
      assert.deepEqual([files[config], findings, does], [text, [`error: ${reason}`], undefined]);
    }
    for (const quiet of [`disabled_plugins = ["cri"]\n${cri}`, "version = 2\n", ""])
      assert.deepEqual(after(containerd, "install", {}, {}, dump(quiet)).findings, []);
  });

  it("works in the first directory of another config_path", () => {
    const elsewhere = dump(`${cri}config_path = "/opt/certs.d:/etc/docker/certs.d"`);
    const { files, findings } = after(containerd, "install", {}, {}, elsewhere);
    assert.deepEqual(
      [Object.keys(files), findings],
      [["/opt/certs.d/registry.lan:5000/ca.crt", "/opt/certs.d/registry.lan:5000/hosts.toml"], []],
    );
  });
});

describe("mirrors of Podman, CRI-O and skopeo", () => {
  const dropIn = "/etc/containers/registries.conf.d/drydock.conf";

  it("stand in a drop-in, beside those of another registry of drydock's", () => {
    const options = { ...mirrors, names, stores: ["containers"] as const };
    const { files } = after(containers, "install", {}, { ...options, mirrors: ["quay.io"] });
    assert.equal(
      files[dropIn],
      `${mark(3)}[[registry]]
prefix = "quay.io"
location = "quay.io"
[[registry.mirror]]
location = "registry.lan:5000"
[[registry.mirror]]
location = "10.0.0.10:5000"
`,
    );
    assert.deepEqual(undone(containers, {}, options), {});
    const other = after(
      containers,
      "install",
      {},
      { mirrors: ["quay.io"], endpoints: ["b.lan"], names: ["b.lan"] },
    );
    const both = after(containers, "install", other.files, options);
    assert.deepEqual(
      [...String(both.files[dropIn]).matchAll(/location = "(.*)"/g)].map(([, at]) => at),
      [
        ...["quay.io", "registry.lan:5000", "10.0.0.10:5000", "b.lan"],
        ...["docker.io", "registry.lan:5000", "10.0.0.10:5000"],
      ],
    );
    const left = after(containers, "remove", both.files, { ...options, authorities: [] });
    assert.equal(left.files[dropIn], other.files[dropIn]);
  });

  it("leave an upstream to whoever names it already", () => {
    for (const [path, text] of [
      ["/etc/containers/registries.conf", '[[registry]]\nlocation = "quay.io"\nblocked = true\n'],
      [
        "/etc/containers/registries.conf.d/00-x.conf",
        '[[registry]]\nprefix = "quay.io"\nlocation = "p.lan"\n',
      ],
    ] as const) {
      const { files, findings } = after(containers, "install", { [path]: text }, mirrors);
      assert.deepEqual(findings, [`error: ${path} says already where quay.io is, and is left as it is`]);
      assert.match(String(files[dropIn]), /prefix = "docker\.io"/);
      assert.doesNotMatch(String(files[dropIn]), /quay\.io/);
      const added = `${text}${mirrors.endpoints.map((at) => `[[registry.mirror]]\nlocation = "${at}"\n`).join("")}`;
      assert.deepEqual(after(containers, "install", { [path]: added }, mirrors).findings, []);
    }
  });
});

describe("daemon.json", () => {
  const path = "/etc/docker/daemon.json";
  const restart = { ...mirrors, names, restartRuntimes: true };
  const urls = ["https://registry.lan:5000", "https://10.0.0.10:5000"];

  it("names the registry first, for docker.io alone, where Docker may be told", () => {
    const theirs = '{\n\t"log-driver": "local",\n\t"registry-mirrors": ["https://old.lan"]\n}\n';
    const { files, does } = after(dockerMirrors, "install", { [path]: theirs }, restart);
    assert.deepEqual(JSON.parse(String(files[path])), {
      "log-driver": "local",
      "registry-mirrors": [...urls, "https://old.lan"],
    });
    assert.match(String(files[path]), /^\{\n\t"log-driver"/);
    assert.equal(does, "reload /run/docker.pid");
    assert.deepEqual(
      JSON.parse(String(undone(dockerMirrors, { [path]: theirs }, restart)[path])),
      JSON.parse(theirs),
    );
    for (const none of [{}, { [path]: "" }, { [path]: "{}\n" }])
      assert.deepEqual(undone(dockerMirrors, none, restart), {});

    const waits = after(dockerMirrors, "install", { [path]: theirs }, { ...restart, restartRuntimes: false });
    assert.deepEqual(
      [waits.files[path], waits.findings],
      [
        theirs,
        [`note: Docker does not look for docker.io's images in the registry: ${path} lacks the mirror`],
      ],
    );
    const quay = after(dockerMirrors, "install", {}, { ...restart, mirrors: ["quay.io"] });
    assert.deepEqual([quay.files, quay.does], [{}, undefined]);
    const slashes = { [path]: JSON.stringify({ "registry-mirrors": urls.map((url) => `${url}/`) }) };
    assert.deepEqual(after(dockerMirrors, "install", slashes, restart).files, slashes);
  });

  it("is left alone where it is no JSON", () => {
    for (const text of ["{,}", "[]", '"x"', "null"]) {
      const { files, findings } = after(dockerMirrors, "install", { [path]: text }, restart);
      assert.deepEqual(
        [files[path], findings],
        [text, [`error: ${path} can't be read as JSON, and is left as it is, without the mirror`]],
      );
    }
  });
});
