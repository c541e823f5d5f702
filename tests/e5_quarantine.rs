//! E5: what goes bad while the gateway runs harms only its own routes.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::fs;
use std::process::Command;

use tollgate_testkit::{Authority, Backends, Gateway, free_port, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

#[test]
fn a_certificate_a_folder_and_a_service_that_go_bad_leave_the_others_alone() {
    let house = tempfile::tempdir().unwrap();
    let (authority, backends, tls) = (Authority::new("Test CA"), Backends::start(2), free_port());
    authority.write(house.path(), "ca.pem");
    authority.server(&["shop.example"]).write(house.path(), "shop");
    let files = house.path().join("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join("a.txt"), "a file").unwrap();
    let place = house.path().display();
    let config = format!(
        "listen:\n  \"{{{{http}}}}\": http\n  \"{{{{health}}}}\": health\n  \"127.0.0.1:{tls}\": {{ tls: {{ cert: {place}/shop.pem, key: \
         {place}/shop.key }} }}\nservices: {{ one: \"{}\", two: \"{}\" }}\nroutes:\n  /one/**: {{ to: one, retry: 0 }}\n  /two/**: two\n  \
         /files/**: {{ files: {place}/files }}\n  /fixed: {{ reply: 200 fixed }}\n",
        backends.address(0),
        backends.address(1)
    );
    let gateway = Gateway::start(TOLLGATE, &config, &[]);
    let status = |path: &str| gateway.client().get(path).status;
    let secure = || {
        let to = format!("shop.example:{tls}:127.0.0.1");
        let url = format!("https://shop.example:{tls}/fixed");
        let ca = house.path().join("ca.pem").display().to_string();
        let ran = Command::new("curl").args(["-sS", "--resolve", &to, "--cacert", &ca, &url]).output().unwrap();
        String::from_utf8_lossy(&ran.stdout).into_owned()
    };
    let all = || ["/one/1", "/two/1", "/files/a.txt", "/fixed"].map(status);
    assert_eq!((all(), secure().as_str()), ([200, 200, 200, 200], "fixed"));
    fs::write(house.path().join("shop.pem"), "no certificate").unwrap();
    wait_until("it is told", || gateway.log().contains("shop.pem"));
    assert_eq!((all(), secure().as_str()), ([200, 200, 200, 200], "fixed"), "the one before is used on");
    fs::rename(&files, house.path().join("elsewhere")).unwrap();
    assert_eq!(all(), [200, 200, 500, 200]);
    backends.kill(0);
    assert_eq!(all(), [502, 200, 500, 200]);
    assert_eq!(gateway.health("/health/ready").status, 200, "nothing that the others would have to suffer for");
    // And all of it is well again by itself.
    backends.revive(0);
    fs::rename(house.path().join("elsewhere"), &files).unwrap();
    authority.server(&["shop.example"]).write(house.path(), "shop");
    wait_until("all is well", || all() == [200, 200, 200, 200]);
    assert_eq!(secure(), "fixed");
}
