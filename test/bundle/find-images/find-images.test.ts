import assert from "node:assert/strict";
import { test } from "node:test";
import { findImages } from "../../../src/bundle/find-images/find-images.ts";

/** "LINE reference" for each image. */
function found(text: string): string[] {
  return findImages(text, "f").images.map(({ reference, line }) => `${line} ${reference}`);
}

function refused(text: string): { message: string; hint?: string } {
  try {
    findImages(text, "dir/f.yaml");
  } catch (error) {
    assert.ok(error instanceof Error && "hint" in error && "kind" in error && error.kind === "input");
    return { message: error.message, hint: String(error.hint ?? "") };
  }
  assert.fail("it was accepted");
}

test("a text file: one reference a line, comments and blank lines aside", () => {
  const text =
    "# what runs there\r\nalpine:3.20\r\n\n  quay.io/a/b:1   # the second\nlocalhost:5000/x@sha256:abc\n";
  assert.deepEqual(found(text), ["2 alpine:3.20", "4 quay.io/a/b:1", "5 localhost:5000/x@sha256:abc"]);
  assert.deepEqual(found(`\uFEFFalpine`), ["1 alpine"]);
  assert.deepEqual(found("\n# nothing\n"), []);
});

test("a Compose file: every service's image, through anchors and merge keys, and image volumes", () => {
  const text = `
name: shop
x-base: &base
  image: quay.io/shop/base:1
services:
  web: {image: "nginx:1.27"}
  worker:
    <<: *base
    profiles: [extra]
    build: ./worker
  again:
    extends: {service: web}
  data:
    image: &tool busybox:1.36
    volumes:
      - /plain
      - {type: image, source: quay.io/shop/data:2, target: /data}
  other: {image: *tool}
  model: {provider: {type: model}}
`;
  assert.deepEqual(found(text), [
    "6 nginx:1.27",
    "4 quay.io/shop/base:1",
    "14 busybox:1.36",
    "17 quay.io/shop/data:2",
    "18 busybox:1.36",
  ]);
});

test("a Compose file that cannot be carried as it is: where, and what to do", () => {
  const built = refused("services:\n  a: {image: x}\n  b:\n    build: .\n");
  assert.equal(built.message, 'dir/f.yaml:4: service "b" is built here and has no `image`');
  assert.match(built.hint ?? "", /docker-daemon:/);
  const variable = refused("services:\n  a:\n    ports: []\n    image: a/b:$" + "{TAG:-1}\n");
  assert.match(variable.message, /^dir\/f\.yaml:4: "a\/b:\$\{TAG:-1\}": variables are not expanded$/);
  assert.match(variable.hint ?? "", /docker compose config/);
  assert.match(refused("services: {a: {command: x}}\n").message, /f\.yaml:1: service "a" has no `image`/);
  assert.match(refused("services:\n  a:\n    image: 3\n").message, /f\.yaml:3: wanted .*, got 3/);
  const elsewhere = refused("services:\n  a:\n    extends: {file: b.yaml, service: b}\n");
  assert.match(elsewhere.message, /f\.yaml:3: service "a" has its image from another file/);
  const { notes } = findImages("include: [more.yaml]\nservices: {a: {image: x}}\n", "f");
  assert.deepEqual(notes, ["f:1: the files that it includes are not read; name them too"]);
});

/** Every kind that has a pod in it, each with an image of its own. */
const pods = (image: string) => `{initContainers: [{image: ${image}-init}], containers: [{image: ${image}}]}`;
const workloads = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"].map(
  (kind) => `apiVersion: apps/v1\nkind: ${kind}\nspec: {template: {spec: ${pods(kind.toLowerCase())}}}\n`,
);

test("Kubernetes: every kind with a pod, in many documents", () => {
  const text = [
    ...workloads,
    `apiVersion: v1\nkind: Pod\nspec:\n  containers: [{image: pod}]\n  ephemeralContainers:\n  - image: debug\n`,
    `apiVersion: v1\nkind: ReplicationController\nspec: {template: {spec: ${pods("rc")}}}\n`,
    `apiVersion: batch/v1\nkind: Job\nspec: {template: {spec: ${pods("job")}}}\n`,
    `apiVersion: batch/v1beta1\nkind: CronJob\nspec: {jobTemplate: {spec: {template: {spec: ${pods("cron")}}}}}\n`,
    `apiVersion: v1\nkind: PodTemplate\ntemplate: {spec: ${pods("template")}}\n`,
    "apiVersion: v1\nkind: Pod\nspec:\n  volumes:\n  - name: v\n    image: {reference: data}\n",
    "# Source: chart/templates/empty.yaml\n",
    "apiVersion: v1\nkind: ConfigMap\ndata: {image: not-this}\n",
  ].join("---\n");
  const both = (name: string) => [`${name}-init`, name];
  const { images, notes } = findImages(text, "f");
  assert.deepEqual(
    images.map(({ reference }) => reference),
    [
      ...["deployment", "statefulset", "daemonset", "replicaset"].flatMap(both),
      ...["pod", "debug", ...both("rc"), ...both("job"), ...both("cron"), ...both("template"), "data"],
    ],
  );
  assert.deepEqual(notes, []);
  const lines = text.split("\n");
  for (const { reference, line } of images) assert.ok(lines[line - 1]?.includes(reference), reference);
});

test("Kubernetes: lists, also inside of lists, as JSON and as kubectl's own kinds", () => {
  const pod = { apiVersion: "v1", kind: "Pod", spec: { containers: [{ image: "a" }] } };
  const inner = { apiVersion: "v1", kind: "PodList", items: [{ spec: { containers: [{ image: "b" }] } }] };
  const text = JSON.stringify({ apiVersion: "v1", kind: "List", items: [pod, inner] }, null, 1);
  assert.deepEqual(
    found(text).map((each) => each.split(" ")[1]),
    ["a", "b"],
  );
});

test("Kubernetes: what was not searched is said, a container without an image too", () => {
  const text = [
    "apiVersion: monitoring.coreos.com/v1\nkind: Prometheus\nspec: {image: x}\n",
    "apiVersion: batch.volcano.sh/v1alpha1\nkind: Job\nspec: {template: {spec: {image: y}}}\n",
    "apiVersion: monitoring.coreos.com/v1\nkind: Prometheus\n",
    "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: none\n",
    "replicas: 3\n",
  ].join("---\n");
  const { images, notes } = findImages(text, "f");
  assert.deepEqual(images, []);
  assert.deepEqual(notes, [
    "f:16: a container without an image",
    "f: not searched for images: Prometheus (monitoring.coreos.com/v1) on line 1 and 1 more, Job (batch.volcano.sh/v1alpha1) on line 5, what has no apiVersion and kind on line 18; list by hand what they need",
  ]);
});

test("Kubernetes: of objects that an operator reads, the pod templates are searched, and a note says so", () => {
  const spec = (image: string) => `spec: {containers: [{image: ${image}}]}`;
  const text = [
    `apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nspec:\n  template:\n    ${spec("rollout")}\n`,
    `apiVersion: serving.knative.dev/v1\nkind: Service\nspec: {template: {${spec("knative")}}}\n`,
    `apiVersion: keda.sh/v1alpha1\nkind: ScaledJob\nspec: {jobTargetRef: {template: {${spec("keda")}}}}\n`,
    `apiVersion: batch.volcano.sh/v1alpha1\nkind: Job\nspec:\n  tasks:\n  - template: {${spec("one")}}\n  - template: {${spec("'$(image)'")}}\n`,
    `apiVersion: x.org/v1\nkind: Other\nspec: {template: {spec: {image: not-this}}}\n`,
  ].join("---\n");
  assert.deepEqual(found(text), ["5 rollout", "9 knative", "13 keda", "19 one"]);
  assert.deepEqual(findImages(text, "f").notes, [
    'f:20: a container whose image is "$(image)"',
    "f: not searched for images: Other (x.org/v1) on line 22; list by hand what they need",
    "f: only pod templates were searched for images in: Rollout (argoproj.io/v1alpha1) on line 1, Service (serving.knative.dev/v1) on line 7, ScaledJob (keda.sh/v1alpha1) on line 11, Job (batch.volcano.sh/v1alpha1) on line 15; list by hand what else they need",
  ]);
});

test("a label that stands twice, as charts have it, is no error", () => {
  const text =
    "apiVersion: v1\nkind: Pod\nmetadata: {labels: {a: 1, a: 2}}\nspec: {containers: [{image: x}]}\n";
  assert.deepEqual(found(text), ["4 x"]);
});

test("what is none of them is refused with its line", () => {
  const template = refused(
    "apiVersion: v1\nkind: Pod\nspec:\n{{- if .Values.x }}\n  containers: []\n{{- end }}\n",
  );
  assert.match(template.message, /^dir\/f\.yaml:\d: not YAML/);
  assert.match(template.hint ?? "", /helm template/);
  assert.match(refused("\n\nreplicaCount: 1\n").message, /^dir\/f\.yaml:3: it is neither a Compose file/);
  assert.match(refused("- alpine\n- busybox\n").message, /^dir\/f\.yaml:1: it is neither/);
  const bomb = `a: &a [x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nservices: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n`;
  assert.match(refused(bomb).message, /^dir\/f\.yaml:1: not usable/);
});
