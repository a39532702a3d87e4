//! Logs, execs, attached clients, terminals.

use crate::machine::Machine;
use skiff_runtime::Error;
use skiff_runtime::spec::{AttachSpec, ExecSpec, LogPolicy, TtySize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub async fn logs(m: Machine) {
    m.sandbox("pod").await;
    let script = "echo one; echo two >&2; head -c 40000 /dev/zero | tr '\\0' x; echo; printf tail";
    m.run("pod", &m.spec("c", script)).await;
    let log = m.log("c");
    let mut shape: Vec<_> = log
        .lines()
        .map(|line| {
            let parts: Vec<_> = line.splitn(4, ' ').collect();
            assert!(parts[0].len() == 30 && parts[0].ends_with('Z'), "{line}");
            format!("{} {} {}", parts[1], parts[2], parts[3].len())
        })
        .collect();
    shape.sort();
    assert_eq!(
        shape,
        [
            "stderr F 3",
            "stdout F 3",
            "stdout F 7232",
            "stdout P 16384",
            "stdout P 16384",
            "stdout P 4"
        ]
    );
    // Loud, and with many processes.
    let (_, text) = m.run("pod", &m.spec("loud", "seq 1 50000; seq 1 50000 >&2")).await;
    assert_eq!(text.lines().count(), 100_000);
}

pub async fn rotation(m: Machine) {
    m.sandbox("pod").await;
    let mut spec = m.spec("c", "seq 1 20000");
    spec.log_policy = LogPolicy { max_size: 100_000, max_files: 3 };
    m.run("pod", &spec).await;
    let folder = m.log_path("c");
    let folder = folder.parent().expect("a folder");
    let count = std::fs::read_dir(folder).expect("logs").count();
    assert_eq!(count, 3);
    let mut spec = m.spec("d", "echo a; cat; echo b");
    spec.stdin = true;
    spec.stdin_once = true;
    m.start("pod", &spec).await;
    m.until_logged("d", "a").await;
    let moved = m.folder.join("moved");
    std::fs::rename(m.log_path("d"), &moved).expect("moved");
    m.runtime.reopen_log("d").await.expect("reopened");
    let attach = AttachSpec { stdin: true, ..AttachSpec::default() };
    drop(m.runtime.attach("d", attach).await.expect("attached"));
    m.runtime.wait_container("d").await.expect("ends");
    assert_eq!(m.text("d"), "b\n");
    assert!(std::fs::read_to_string(moved).expect("text").ends_with("F a\n"));
}

fn exec(script: &str) -> ExecSpec {
    ExecSpec {
        args: ["sh", "-c", script].map(String::from).to_vec(),
        stdout: true,
        stderr: true,
        ..ExecSpec::default()
    }
}

pub async fn exec_with_pipes(m: Machine) {
    m.sandbox("pod").await;
    let mut spec = m.spec("c", "sleep 1000");
    spec.env.push("A=container".into());
    m.start("pod", &spec).await;
    let script = "echo $A $B; cat; echo bad >&2; grep Seccomp: /proc/self/status; ps | grep -c \
                    sleep; \
                  wc -l < /proc/self/cgroup; exit 5";
    let spec = ExecSpec { stdin: true, env: vec!["B=exec".into()], ..exec(script) };
    let mut run = m.runtime.exec("c", &spec).await.expect("runs");
    let mut stdin = run.stdin.take().expect("stdin");
    stdin.write_all(b"hello\n").await.expect("written");
    drop(stdin);
    let (mut out, mut err) = (String::new(), String::new());
    run.stdout.take().expect("out").read_to_string(&mut out).await.expect("read");
    run.stderr.take().expect("err").read_to_string(&mut err).await.expect("read");
    assert!(out.starts_with("container exec\nhello\nSeccomp:\t2\n"), "{out}");
    assert_eq!(err, "bad\n");
    assert_eq!(m.runtime.wait_exec(&run.id).await.expect("ends").code, 5);
    let error = m.runtime.exec("c", &ExecSpec { args: vec!["nope".into()], ..exec("") }).await;
    assert_eq!(
        error.expect_err("no program").to_string(),
        "exec: \"nope\": executable file not found in $PATH"
    );
    let run = m.runtime.exec("c", &exec("sleep 1000")).await.expect("runs");
    m.runtime.signal_exec(&run.id, 9).await.expect("killed");
    assert_eq!(m.runtime.wait_exec(&run.id).await.expect("ends").code, 137);
    // A signal reaches what the process has started, and no further.
    let run = m.runtime.exec("c", &exec("sleep 555 & echo up; sleep 556")).await.expect("runs");
    let mut up = [0; 3];
    run.stdout.expect("out").read_exact(&mut up).await.expect("read");
    m.runtime.signal_exec(&run.id, 9).await.expect("killed");
    m.runtime.wait_exec(&run.id).await.expect("ends");
    let mut run = m.runtime.exec("c", &exec("ps")).await.expect("runs");
    let mut out = String::new();
    run.stdout.take().expect("out").read_to_string(&mut out).await.expect("read");
    assert!(out.contains("sleep 1000") && !out.contains("sleep 55"), "{out}");
    m.runtime.kill_container("c").await.expect("killed");
    m.runtime.wait_container("c").await.expect("ends");
    let error = m.runtime.exec("c", &exec("true")).await.expect_err("has ended");
    assert!(matches!(error, Error::State(_)), "{error}");
}

pub async fn exec_with_a_terminal(m: Machine) {
    m.sandbox("pod").await;
    m.start("pod", &m.spec("c", "sleep 1000")).await;
    let spec = ExecSpec {
        terminal: true,
        stdin: true,
        size: Some(TtySize { width: 91, height: 17 }),
        ..exec("stty size; echo $TERM; read x; echo got $x; stty size; exit 3")
    };
    let mut run = m.runtime.exec("c", &spec).await.expect("runs");
    let (mut stdin, mut out) = (run.stdin.take().expect("in"), run.stdout.take().expect("out"));
    let mut text = String::new();
    while !text.contains("xterm") {
        let mut bytes = [0; 100];
        let n = out.read(&mut bytes).await.expect("read");
        text.push_str(&String::from_utf8_lossy(&bytes[..n]));
    }
    assert!(text.starts_with("17 91\r\n"), "{text}");
    run.terminal.take().expect("tty").resize(TtySize { width: 50, height: 20 }).expect("resized");
    stdin.write_all(b"line\n").await.expect("written");
    out.read_to_string(&mut text).await.expect("read");
    assert!(text.contains("got line\r\n20 50\r\n"), "{text}");
    assert_eq!(m.runtime.wait_exec(&run.id).await.expect("ends").code, 3);
}

pub async fn attach(m: Machine) {
    m.sandbox("pod").await;
    let mut spec =
        m.spec("c", "read go; echo out $go; echo err >&2; cat > /dev/null; yes | head -n 500000");
    spec.stdin = true;
    m.start("pod", &spec).await;
    let all = AttachSpec { stdin: true, stdout: true, stderr: true };
    let mut first = m.runtime.attach("c", all).await.expect("attached");
    let look = AttachSpec { stdin: false, stdout: true, stderr: false };
    let mut second = m.runtime.attach("c", look).await.expect("attached");
    let sleepy = m.runtime.attach("c", look).await.expect("attached");
    let mut stdin = first.stdin.take().expect("stdin");
    stdin.write_all(b"now\n").await.expect("written");
    for stream in [first.stdout.as_mut(), second.stdout.as_mut()] {
        let mut bytes = [0; 8];
        stream.expect("out").read_exact(&mut bytes).await.expect("read");
        assert_eq!(&bytes, b"out now\n");
    }
    let mut bytes = [0; 4];
    first.stderr.as_mut().expect("err").read_exact(&mut bytes).await.expect("read");
    assert_eq!(&bytes, b"err\n");
    // More than any pipe holds goes in; it is not stdinOnce, so it stays open until the kill.
    stdin.write_all(&vec![b'x'; 1 << 20]).await.expect("the container reads");
    drop(stdin);
    m.runtime.kill_container("c").await.expect("killed");
    m.runtime.wait_container("c").await.expect("ends");
    let mut rest = Vec::new();
    second.stdout.take().expect("out").read_to_end(&mut rest).await.expect("ends");
    drop(sleepy);
    let mut spec = m.spec("d", "read go; yes | head -n 500000; echo end");
    (spec.stdin, spec.stdin_once) = (true, true);
    spec.log_policy = LogPolicy { max_size: 0, max_files: 0 };
    m.start("pod", &spec).await;
    let sleepy = m.runtime.attach("d", look).await.expect("attached");
    let feed = AttachSpec { stdin: true, stdout: false, stderr: false };
    let fed = m.runtime.attach("d", feed).await.expect("attached");
    fed.stdin.expect("in").write_all(b"go\n").await.expect("written");
    let status = m.runtime.wait_container("d").await.expect("a sleepy watcher holds nobody up");
    assert_eq!(status.exit.expect("ended").code, 0);
    assert_eq!(m.text("d").lines().count(), 500_001);
    let mut seen = Vec::new();
    sleepy.stdout.expect("out").read_to_end(&mut seen).await.expect("cut off, not stuck");
    assert!(seen.len() < 1_000_000);
}

pub async fn terminal_container(m: Machine) {
    m.sandbox("pod").await;
    let mut spec =
        m.spec("c", "read a; echo got $a; stty size; ls -l /dev/console | head -c 1; exit 4");
    (spec.terminal, spec.stdin) = (true, true);
    m.start("pod", &spec).await;
    let both = AttachSpec { stdin: true, stdout: true, stderr: false };
    let mut client = m.runtime.attach("c", both).await.expect("attached");
    m.runtime.resize_tty("c", TtySize { width: 33, height: 44 }).await.expect("resized");
    client.stdin.as_mut().expect("in").write_all(b"word\n").await.expect("written");
    let mut text = String::new();
    client.stdout.take().expect("out").read_to_string(&mut text).await.expect("read");
    assert!(text.contains("got word\r\n44 33\r\nc"), "{text:?}");
    let exit = m.runtime.wait_container("c").await.expect("ends").exit.expect("ended");
    assert_eq!(exit.code, 4);
    assert!(m.log("c").contains("got word\r\n"), "{:?}", m.log("c"));
}
