use deploykit_testkit::systemd::Sandbox;
#[test]
fn explore() {
    let Some(mut sandbox) = Sandbox::boot(&[]) else { return };
    let uid = sandbox.add_user("joe");
    sandbox.write_unit("web.service", "[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n");
    sandbox.run("systemctl", &["enable", "--now", "web"]);
    let sh = |s: &Sandbox, c: &str, user: bool| {
        let t = std::time::Instant::now();
        let mut cmd = if user { s.command_as("joe", "sh") } else { s.command("sh") };
        let out = cmd.args(["-c", c]).output().unwrap();
        eprintln!("--- {c} {user} [{:?}] {:?}\n{}{}", t.elapsed(), out.status, String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    };
    sh(&sandbox, "cat /proc/self/cgroup; id; env | grep -E 'HOME|USER|XDG|DBUS'; systemctl --user is-system-running; systemd-run --user --wait -P echo hi; journalctl --user -n 3 --no-pager; systemctl --user list-units --no-pager", true);
    let call = "busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager RestartUnit ss web.service replace; busctl --allow-interactive-authorization=no call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager RestartUnit ss web.service replace; gdbus call --system --dest org.freedesktop.systemd1 --object-path /org/freedesktop/systemd1 --method org.freedesktop.systemd1.Manager.RestartUnit web.service replace; systemctl --no-ask-password restart web";
    sh(&sandbox, call, true);
    sh(&sandbox, "systemctl status polkit --no-pager; systemctl --failed; journalctl -b -u polkit --no-pager; ulimit -Hn", false);
    std::fs::write(sandbox.root().join("etc/polkit-1/rules.d/50-web.rules"), "polkit.addRule(function(action, subject) { if (action.id == 'org.freedesktop.systemd1.manage-units' && action.lookup('unit') == 'web.service' && subject.user == 'joe') return polkit.Result.YES; });\n").unwrap();
    sh(&sandbox, call, true);
    sh(&sandbox, "sleep 1", false);
    sh(&sandbox, call, true);
    sh(&sandbox, "systemctl mask --runtime --now polkit", false);
    sh(&sandbox, call, true);
    sh(&sandbox, "free -m; ps aux; df -h / /run; systemd-analyze blame; systemctl --failed; du -sh /var/log/journal; for g in /sys/fs/cgroup/memory; do cat $g/memory.usage_in_bytes $g/memory.stat; done", false);
    sandbox.boot_again();
    sh(&sandbox, "journalctl --list-boots; systemctl is-active web; systemctl is-system-running; systemd-analyze; cat /proc/sys/kernel/random/boot_id /etc/machine-id", false);
    sh(&sandbox, "systemctl --user is-system-running", true);
    sh(&sandbox, "systemd-run --wait -P -p LimitNOFILE=1000000 sh -c 'ulimit -Hn'; systemd-run --wait -P -p MemoryMax=20M -p TasksMax=5 cat /proc/self/cgroup; systemd-run --wait -P -p DynamicUser=yes id; systemd-run --wait -P -p PrivateTmp=yes -p ProtectSystem=strict -p ProtectHome=yes -p PrivateDevices=yes -p ProtectKernelTunables=yes -p ProtectControlGroups=yes -p ProtectProc=invisible -p RestrictNamespaces=yes -p SystemCallFilter=@system-service -p PrivateNetwork=yes -p IPAddressDeny=any cat /proc/sys/kernel/random/boot_id", false);
    sh(&sandbox, "systemctl --failed; journalctl -b -p warning --no-pager", false);
    let _ = uid;
}
