use keywright::access::Grant;
use keywright::verifier::index::{Index, Key};
#[test]
fn reset() {
    let (tx, rx) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let index = Index::default();
        index.apply_key(Key {
            uid: "u-1".into(),
            namespace: "n".into(),
            name: "k".into(),
            account: "a".into(),
            display_name: None,
            grant: Grant::new::<&str>(keywright::access::AccessLevel::Full, &[]).unwrap(),
            disabled: false,
            expires_at: None,
        });
        index.reset_keys(&Default::default());
        tx.send(()).unwrap();
    });
    rx.recv_timeout(std::time::Duration::from_secs(5)).expect("reset_keys comes back");
}
