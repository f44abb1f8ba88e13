/**
 * Docker's tarball of executables, for hosts with systemd: they go to /usr/local/bin, where they must neither
 * replace nor hide anything, and a unit of our own runs dockerd, which runs containerd itself. dockerd is the
 * last to get its name: a host that has it has all of it.
 */

/** The unit: containers outlive a restart of dockerd's, and all control groups below it are dockerd's own. */
export const unit = `# Written by drydock, with the executables in /usr/local/bin.
[Unit]
Description=Docker engine
Documentation=https://docs.docker.com
After=network-online.target firewalld.service
Wants=network-online.target

[Service]
Type=notify
ExecStart=/usr/local/bin/dockerd
ExecReload=/bin/kill -s HUP $MAINPID
Restart=on-failure
RestartSec=5
Delegate=yes
KillMode=process
OOMScoreAdjust=-500
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity

[Install]
WantedBy=multi-user.target
`;

/** The word is the tarball's name, see install.ts; the unit is in $payload. */
export const installStatic = [
  "into=/usr/local/bin; unit=/etc/systemd/system/docker.service; all= ; rest= ;",
  'names=$(tar -tzf $files/$1 2>&1) || refuse "read $1:" "$names";',
  "for n in $names; do case $n in docker/) ;; docker/[.-]*|docker/*/*) rest=$n;;",
  `  docker/?*) all="$all \${n#docker/}";; *) rest=$n;; esac; done;`,
  '[ "$rest" ] && refuse "$1 holds $rest, which does not belong there";',
  "for n in dockerd docker containerd containerd-shim-runc-v2 runc; do",
  '  case "$all " in *" $n "*) ;; *) refuse "$1 holds no $n";; esac; done;',
  'said=$(tar -xzf $files/$1 -C $files 2>&1) || problem "unpack $1 there:" "$said";',

  "same= ; others= ;",
  "for n in $all; do f=$files/docker/$n;",
  '  [ -h $f ] && refuse "$1: $n is a link";',
  "  there=$(command -v $n) || there=$into/$n; [ -e $there ] || continue;",
  '  if [ $there = $into/$n ] && cmp -s $there $f; then same="$same $n "; else others="$others $there"; fi;',
  "done;",
  'if systemctl cat docker.service >/dev/null 2>&1; then cmp -s $payload $unit || others="$others docker.service"; fi;',
  '[ "$others" ] && refuse "what is there would be replaced or hidden:" "$others";',

  'put() { case "$same" in *" $1 "*) ;; *) f=$files/docker/$1;',
  '  stage $into/$1 $f $(digest $f) "-o root -g root -m 0755";; esac; };',
  "for n in $all; do [ $n = dockerd ] || put $n; done;",
  'stage $unit $payload $want "-o root -g root -m 0644"; verify; publish;',
  "if getent group docker >/dev/null; then :;",
  '  else said=$(root groupadd -r docker 2>&1) || problem "make the group docker:" "$said"; fi;',
  "said=$(root systemctl daemon-reload 2>&1) && said=$(root systemctl enable docker.service 2>&1) ||",
  '  problem "enable docker.service:" "$said";',
  "temporaries= ; expected= ; put dockerd; verify; publish;",
  `n=\${1#docker-}; installed docker=\${n%.tgz};`,
];
