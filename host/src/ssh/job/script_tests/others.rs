//! Jobs of other runs, ended by who holds the lease.

use super::*;

fn end_others(t: &Target, run: &str) -> String {
    t.run(&line::others(&run.into(), MARK), b"").end().0
}

/// Starts a job whose host is killed; its process.
async fn left(t: &Target, script: &str, effect: u64) -> String {
    let mut shown = t.start(&shell(script), effect);
    let out = t.file(&format!("{effect}.out"));
    eventually("it runs", || {
        std::fs::read_to_string(&out).is_ok_and(|out| out.ends_with('\n'))
    })
    .await;
    drop(shown.stdin.take());
    shown.child.wait().unwrap();
    t.read(&format!("{effect}.out")).trim().to_owned()
}

#[tokio::test]
async fn what_another_run_left_is_ended_with_its_group() {
    for t in targets() {
        let script = "(trap '' TERM; while :; do sleep 1; done) & echo $! $$; wait";
        let pids = left(&t, script, 1).await;
        let own = end_others(&t, "RUN");
        assert_eq!(own, "@ done\n", "{:?}", t.shell);
        for pid in pids.split(' ') {
            assert!(runs(pid), "{:?}: its own", t.shell);
        }
        assert_eq!(end_others(&t, "OTHER"), "@ ended RUN\n@ done\n");
        for pid in pids.split(' ') {
            assert!(!runs(pid), "{:?}", t.shell);
        }
        eventually("its end is written", || t.read("1.end").contains('\n')).await;
        assert!(t.read("1.end").trim_end().ends_with(" host"));
        assert_eq!(end_others(&t, "OTHER"), "@ done\n");
    }
}

#[tokio::test]
async fn what_ended_by_itself_keeps_what_it_left_running() {
    for t in targets() {
        let mut shown = t.start(&shell("sleep 300 >/dev/null 2>&1 & echo $!"), 1);
        drop(shown.stdin.take());
        shown.child.wait().unwrap();
        eventually("its end is written", || t.read("1.end").contains('\n')).await;
        let service = t.read("1.out").trim().to_owned();
        assert_eq!(end_others(&t, "OTHER"), "@ done\n", "{:?}", t.shell);
        assert!(runs(&service), "{:?}", t.shell);
        crate::ssh::tests::processes::kill(&service, "KILL");
    }
}

#[tokio::test]
async fn a_copy_of_a_job_on_another_machine_is_no_job() {
    for t in targets() {
        // This very process, as if it were a job there.
        std::fs::create_dir_all(t.file("")).unwrap();
        let pid = std::process::id();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let began = stat
            .rsplit_once(") ")
            .unwrap()
            .1
            .split(' ')
            .nth(19)
            .unwrap();
        let file = format!("{pid} {began} another-boot\n{pid} {began}\n");
        std::fs::write(t.file("1.run"), file).unwrap();
        assert_eq!(end_others(&t, "OTHER"), "@ done\n", "{:?}", t.shell);
    }
}

#[test]
fn where_no_job_ever_ran_nothing_is_made() {
    for t in targets() {
        assert_eq!(end_others(&t, "OTHER"), "@ done\n", "{:?}", t.shell);
        assert!(!t.at(".vdeploy").exists(), "{:?}", t.shell);
    }
}
