//! Files of known hosts, written by hand and by `ssh-keygen`.

use crate::openssh::{HostKeyStatus, KnownFiles};
use russh::keys::{Algorithm, Certificate, HashAlg, PrivateKey, PublicKey};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn key() -> PublicKey {
    let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519);
    key.unwrap().public_key().clone()
}

fn line(key: &PublicKey) -> String {
    let text = key.to_openssh().unwrap();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn keygen(dir: &Path, args: &[&str]) {
    let status = Command::new("ssh-keygen")
        .args(args)
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success(), "{args:?}");
}

fn files(dir: &Path, name: &str, port: Option<u16>) -> KnownFiles {
    KnownFiles {
        files: vec![dir.join("known"), dir.join("missing")],
        revoked: None,
        name: name.to_owned(),
        port,
    }
}

const NOW: u64 = 1_800_000_000;

#[test]
fn names_ports_patterns_hashes_and_markers() {
    let dir = tempfile::tempdir().unwrap();
    let (mine, other) = (key(), key());
    let known = dir.path().join("known");
    let text = format!(
        "# a comment\nbroken\nweb,WEB2 {mine}\n[web]:2222 {other}\n*.example.com,!bad.example.com\t\
         {mine} who@where\nboth {other}\nboth {mine}\n@revoked gone {mine}\ngone {mine}\n",
        mine = line(&mine),
        other = line(&other),
    );
    std::fs::write(&known, text).unwrap();
    let changed = |number: usize| HostKeyStatus::Changed {
        place: format!("{}:{number}", known.display()),
        expected: other.fingerprint(HashAlg::Sha256).to_string(),
    };
    let cases = [
        ("web", Some(22), HostKeyStatus::Known),
        ("web2", Some(22), HostKeyStatus::Known),
        ("web", Some(2222), changed(4)),
        // A line without a port may confirm, and proves nothing else.
        ("web", Some(2200), HostKeyStatus::Known),
        ("web2", None, HostKeyStatus::Known),
        ("a.example.com", Some(22), HostKeyStatus::Known),
        ("bad.example.com", Some(22), HostKeyStatus::New),
        ("both", Some(22), HostKeyStatus::Known),
        ("nobody", Some(22), HostKeyStatus::New),
    ];
    for (name, port, expected) in cases.clone() {
        let known = files(dir.path(), name, port).read().unwrap();
        assert_eq!(known.judge(&mine, None, NOW), expected, "{name} {port:?}");
    }
    let gone = files(dir.path(), "gone", Some(22)).read().unwrap();
    let revoked = HostKeyStatus::Revoked {
        place: format!("{}:8", known.display()),
    };
    assert_eq!(gone.judge(&mine, None, NOW), revoked);
    let unknown = files(dir.path(), "web", Some(2200)).read().unwrap();
    assert_eq!(unknown.judge(&other, None, NOW), HostKeyStatus::New);

    // The same with names that OpenSSH has hashed.
    let plain = format!("web {}\n[web]:2222 {}\n", line(&mine), line(&other));
    std::fs::write(&known, plain).unwrap();
    keygen(dir.path(), &["-H", "-f", "known"]);
    assert!(!std::fs::read_to_string(&known).unwrap().contains("web"));
    for (port, expected) in [(22, HostKeyStatus::Known), (2222, changed(2))] {
        let known = files(dir.path(), "web", Some(port)).read().unwrap();
        assert_eq!(known.judge(&mine, None, NOW), expected, "{port}");
    }
}

#[test]
fn a_key_of_another_kind_than_the_known_one_is_no_first_key() {
    let dir = tempfile::tempdir().unwrap();
    keygen(dir.path(), &["-q", "-t", "ecdsa", "-N", "", "-f", "ecdsa"]);
    let ecdsa = std::fs::read_to_string(dir.path().join("ecdsa.pub")).unwrap();
    std::fs::write(dir.path().join("known"), format!("web {ecdsa}")).unwrap();
    let known = files(dir.path(), "web", Some(22)).read().unwrap();
    let ecdsa = PublicKey::from_openssh(&ecdsa).unwrap();
    assert!(known.has_kind(&ecdsa.algorithm()) && !known.has_kind(&Algorithm::Ed25519));
    assert!(matches!(
        known.judge(&key(), None, NOW),
        HostKeyStatus::Changed { .. }
    ));
}

#[test]
fn a_certificate_is_good_for_its_names_and_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    for name in ["ca", "host"] {
        keygen(dir.path(), &["-q", "-t", "ed25519", "-N", "", "-f", name]);
    }
    let sign = |more: &[&str]| {
        let mut args = vec!["-q", "-s", "ca", "-I", "id"];
        args.extend(more);
        args.push("host.pub");
        keygen(dir.path(), &args);
        let text = std::fs::read_to_string(path("host-cert.pub")).unwrap();
        Certificate::from_openssh(text.trim()).unwrap()
    };
    let ca = std::fs::read_to_string(path("ca.pub")).unwrap();
    std::fs::write(path("known"), format!("@cert-authority *.example.com {ca}")).unwrap();
    let host = std::fs::read_to_string(path("host.pub")).unwrap();
    let host = PublicKey::from_openssh(&host).unwrap();
    let known = files(dir.path(), "web.example.com", Some(2222))
        .read()
        .unwrap();
    assert!(known.has_authority());
    let judge = |certificate: &Certificate| known.judge(&host, Some(certificate), NOW);
    let why = |certificate: &Certificate| match judge(certificate) {
        HostKeyStatus::Certificate { why, .. } => why,
        other => panic!("{other:?}"),
    };
    let good = sign(&["-h", "-n", "web.example.com"]);
    assert_eq!(judge(&good), HostKeyStatus::Known);
    assert_eq!(
        why(&sign(&["-n", "web.example.com"])),
        "it is no certificate of a host"
    );
    let elsewhere = why(&sign(&["-h", "-n", "db.example.com"]));
    assert_eq!(
        elsewhere,
        "it is for db.example.com, not for web.example.com"
    );
    let old = sign(&["-h", "-n", "web.example.com", "-V", "20200101:20200201"]);
    assert_eq!(why(&old), "it is not valid at this time");
    let stranger = files(dir.path(), "web.example.org", Some(22))
        .read()
        .unwrap();
    assert_eq!(stranger.judge(&host, Some(&good), NOW), HostKeyStatus::New);
    // The authority's own key is revoked: nothing that it signed is good.
    std::fs::write(
        path("known"),
        format!("@cert-authority * {ca}@revoked * {ca}"),
    )
    .unwrap();
    let known = files(dir.path(), "web.example.com", Some(22))
        .read()
        .unwrap();
    assert!(matches!(
        known.judge(&host, Some(&good), NOW),
        HostKeyStatus::Revoked { .. }
    ));
}

#[test]
fn revoked_host_keys_are_a_list_or_nobody_is_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let mine = key();
    std::fs::write(dir.path().join("known"), format!("web {}\n", line(&mine))).unwrap();
    let mut files = files(dir.path(), "web", Some(22));
    files.revoked = Some(dir.path().join("revoked"));
    assert!(files.read().unwrap_err().contains("does not exist"));
    std::fs::write(dir.path().join("revoked"), line(&mine)).unwrap();
    let verdict = files.read().unwrap().judge(&mine, None, NOW);
    assert!(
        matches!(verdict, HostKeyStatus::Revoked { .. }),
        "{verdict:?}"
    );
    std::fs::write(dir.path().join("revoked"), "SSHKRL\n").unwrap();
    assert!(
        files
            .read()
            .unwrap_err()
            .contains("revoked:1 is no public key")
    );
}
