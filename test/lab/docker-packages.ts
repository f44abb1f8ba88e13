/**
 * Docker in the other forms in which it is carried to hosts without it, made of this machine's own: RPM packages,
 * and a tarball of executables as Docker publishes them.
 */
import { copyFile, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { kept } from "./debian-root.ts";
import { findProgram } from "./host-files.ts";
import { run } from "./process.ts";

/** name in Docker's tarball → program, and Debian's package of it, here */
const programs: Record<string, [string, string]> = {
  dockerd: ["dockerd", "docker.io"],
  docker: ["docker", "docker.io"],
  "docker-proxy": ["docker-proxy", "docker.io"],
  containerd: ["containerd", "containerd"],
  "containerd-shim-runc-v2": ["containerd-shim-runc-v2", "containerd"],
  runc: ["runc", "runc"],
};

/** The path of docker-VERSION.tgz. */
export async function dockerTarball(): Promise<string> {
  const folder = await kept("tarball", await versionHere(), async (at) => {
    await placePrograms(join(at, "docker"));
    await run("tar", [
      "-C",
      at,
      "--owner=0",
      "--group=0",
      "-I",
      "gzip -1",
      "-cf",
      join(at, tarball),
      "docker",
    ]);
    await rm(join(at, "docker"), { recursive: true });
  });
  return join(folder, tarball);
}

const tarball = "docker-20.10.24.tgz";

/**
 * The folder of docker-ce-….rpm, containerd.io-….rpm, which it needs (as with Docker's own, nothing starts it), and
 * base/bash-….rpm, which a host that was made of RPM packages would have.
 */
export async function dockerRpms(): Promise<string> {
  return await kept("rpms", `${await versionHere()}\n${spec}`, async (folder) => {
    await placePrograms(join(folder, "programs"));
    await writeFile(join(folder, "docker.spec"), spec);
    const define = ["_topdir", "_rpmdir"].flatMap((name) => ["--define", `${name} ${folder}/build`]);
    await run(
      "rpmbuild",
      ["-bb", "--quiet", ...define, "--define", `programs ${folder}/programs`, "docker.spec"],
      {
        cwd: folder,
      },
    );
    await run(
      "/bin/sh",
      ["-c", "mv build/*/*.rpm . && mkdir base && mv bash-*.rpm base && rm -r build programs docker.spec"],
      { cwd: folder },
    );
  });
}

const spec = `
%define _binary_payload w1.gzdio
%define __os_install_post %{nil}
%define _build_id_links none
Name: docker-ce
Version: 20.10.24
Release: 1
Summary: Docker
License: Apache-2.0
AutoReqProv: no
Requires: containerd.io >= 1.6
%description
Docker.
%package -n containerd.io
Summary: containerd
AutoReqProv: no
%description -n containerd.io
containerd.
%package -n bash
Summary: a shell
AutoReqProv: no
Provides: /bin/sh
%description -n bash
A shell.
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/usr/lib/systemd/system
cp %{programs}/* %{buildroot}/usr/bin
cat >%{buildroot}/usr/lib/systemd/system/docker.service <<END
[Service]
Type=notify
ExecStart=/usr/bin/dockerd
[Install]
WantedBy=multi-user.target
END
%pre
getent group docker >/dev/null || groupadd -r docker
%files
/usr/bin/docker*
/usr/lib/systemd/system/docker.service
%files -n containerd.io
/usr/bin/containerd*
/usr/bin/runc
%files -n bash
`;

async function versionHere(): Promise<string> {
  return (await run("dockerd", ["--version"])).stdout;
}

async function placePrograms(folder: string): Promise<void> {
  await mkdir(folder);
  for (const [name, [program, debian]] of Object.entries(programs))
    await copyFile(await findProgram(program, debian), join(folder, name));
}
