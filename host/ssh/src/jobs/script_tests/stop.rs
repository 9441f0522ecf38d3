//! Ending a job whose host is gone.

use super::*;

#[tokio::test]
async fn what_a_dead_host_left_is_ended_with_its_group() {
    for t in targets() {
        let script = "(trap '' TERM; while :; do sleep 1; done) & echo $! $$; wait";
        let mut shown = t.start(&shell(script), 1);
        let out = t.file("1.out");
        eventually("it runs", || {
            std::fs::read_to_string(&out).is_ok_and(|out| out.ends_with('\n'))
        })
        .await;
        drop(shown.stdin.take());
        shown.child.wait().unwrap();
        let pids = t.read("1.out").trim().to_owned();
        for pid in pids.split(' ') {
            assert!(runs(pid), "{:?}", t.shell);
        }
        let stopped = t.run(&request::stop(&job(1), MARK), b"").end();
        assert_eq!(stopped.0, "@ gone\n", "{:?}", t.shell);
        for pid in pids.split(' ') {
            assert!(!runs(pid), "{:?}", t.shell);
        }
    }
}
