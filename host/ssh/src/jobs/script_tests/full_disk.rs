//! The script on a disk that takes nothing more.

use super::*;

/// Targets on disks of their own.
fn on_disks(options: &'static str) -> impl Iterator<Item = Target> {
    targets().map(move |mut t| {
        t.disk = Some(SmallDisk::over(t.home.path(), options));
        t
    })
}

/// Takes every block.
fn fill(t: &Target, name: &str) {
    let mut file = std::fs::File::create(t.at(name)).unwrap();
    for size in [1 << 20, 4096, 1] {
        while file.write(&vec![b'x'; size]).is_ok() {}
    }
}

fn both(text: &str) -> (String, String) {
    (text.to_owned(), text.to_owned())
}

#[test]
fn a_command_that_fills_the_disk_has_its_status() {
    for t in on_disks("size=1m") {
        // `head` says why it ended; what the shell says of `echo` is too much.
        let script = "sleep 0.3; { head -c 2000000 /dev/zero; } >fill; \
                      while echo x; do :; done >>fill 2>/dev/null; exit 7";
        let (out, err) = t.start(&shell(script), 1).end();
        assert_eq!(out, "@ begin\n@ end 7\n", "{:?}", t.shell);
        assert!(
            err.contains("No space left on device"),
            "{:?}: {err}",
            t.shell
        );
        // MaskedCapture, in the place that was made for it.
        assert!(!t.file("1.sym").is_symlink());
        assert_eq!(t.attach(1, 0).end().0, out);
        assert_eq!(t.read("1.end").trim_end(), "7");
    }
}

#[test]
fn on_a_full_disk_the_next_job_is_sent_again_and_runs() {
    for t in on_disks("size=1m") {
        t.start(&shell("exit 0"), 1).end();
        fill(&t, "fill");
        let mut with_input = shell("cat >kept; cat kept; echo err >&2");
        with_input.stdin = vec![b'i'; 20_000];
        let (out, err) = t.start(&with_input, 2).end();
        assert_eq!((out, err), both("@ again\n"), "{:?}", t.shell);
        assert!(!t.at("kept").exists());
        assert_eq!(is_in(&t.file("")), ["1.end", "1.err", "1.out", "1.run"]);
        // The host does what it was asked for.
        let (out, err) = t.start(&with_input, 2).end();
        let input = "i".repeat(20_000);
        assert_eq!(out, format!("@ begin\n{input}@ end 0\n"), "{:?}", t.shell);
        assert_eq!(err, "@ begin\nerr\n@ end 0\n");
        // And what comes after it finds room too.
        for effect in 3..10 {
            let (out, _) = t.start(&shell("echo done"), effect).end();
            assert_eq!(out, "@ begin\ndone\n@ end 0\n", "{:?}", t.shell);
        }
    }
}

#[test]
fn a_job_without_input_is_sent_again_too() {
    for t in on_disks("size=1m") {
        t.start(&shell("exit 0"), 1).end();
        fill(&t, "fill");
        let (out, err) = t.start(&shell("echo ran >ran"), 2).end();
        assert_eq!((out, err), both("@ begin\n@ again\n"), "{:?}", t.shell);
        assert!(!t.at("ran").exists());
        assert!(!t.file("2.run").exists());
        let (out, _) = t.start(&shell("echo done"), 2).end();
        assert_eq!(out, "@ begin\ndone\n@ end 0\n", "{:?}", t.shell);
    }
}

#[test]
fn where_nothing_is_left_to_give_up_the_reason_is_said() {
    for t in on_disks("size=1m") {
        t.start(&shell("exit 0"), 1).end();
        std::fs::remove_dir_all(t.file("reserve")).unwrap();
        fill(&t, "fill");
        let mut command = shell("echo ran >ran");
        let (out, _) = t.start(&command, 2).end();
        assert!(out.contains("@ fail "), "{:?}: {out}", t.shell);
        assert!(out.contains("is the disk full?"), "{:?}: {out}", t.shell);
        command.stdin = vec![b'i'; 20_000];
        let (out, _) = t.start(&command, 3).end();
        assert!(out.contains("input cannot be kept"), "{:?}: {out}", t.shell);
        assert!(!t.at("ran").exists());
        assert!(is_in(&t.file("")).iter().all(|name| !name.contains(".in")));
    }
}

#[test]
fn a_disk_without_files_left_is_full_too() {
    for t in on_disks("size=4m,nr_inodes=100") {
        t.start(&shell("exit 0"), 1).end();
        let made = (0..200)
            .take_while(|n| std::fs::File::create(t.at(&format!("file{n}"))).is_ok())
            .count();
        assert!(made < 200);
        let mut command = shell("cat");
        command.stdin = b"in".to_vec();
        let (out, _) = t.start(&command, 2).end();
        assert!(out.ends_with("@ again\n"), "{:?}: {out}", t.shell);
        let (out, _) = t.start(&command, 2).end();
        assert_eq!(out, "@ begin\nin@ end 0\n", "{:?}", t.shell);
    }
}

#[tokio::test]
async fn the_limit_holds_on_a_full_disk() {
    for t in on_disks("size=1m") {
        let script = "echo $$; while [ ! -e go ]; do sleep 0.05; done; sleep 86400";
        let mut shown = t.start_for(&shell(script), 1, "1");
        eventually("it runs", || t.read("1.out").ends_with('\n')).await;
        let pid = t.read("1.out").trim().to_owned();
        std::fs::write(t.at("go"), "").unwrap();
        fill(&t, "fill");
        drop(shown.stdin.take());
        shown.child.wait().unwrap();
        assert!(gone(&pid).await, "{:?}", t.shell);
        eventually("its end is written", || t.read("1.end").contains('\n')).await;
        assert!(t.read("1.end").starts_with("143 "), "{}", t.read("1.end"));
    }
}
