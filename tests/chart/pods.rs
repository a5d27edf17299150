//! What the pods may do to the node that they run on, and what they are told.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use super::support::chart::render;
use super::support::keywright::binary;
use super::{MODES, PLACED};

const ROLES: [&str; 2] = ["operator", "verifier"];

#[test]
fn no_pod_runs_as_root_or_can_become_it() {
    for (mode, values) in MODES {
        let rendered = render(values);
        for role in ROLES {
            assert_eq!(rendered.pod(role)["securityContext"]["runAsNonRoot"], true, "{mode}: {role}");
            let held = &rendered.container(role)["securityContext"];
            assert_eq!((&held["allowPrivilegeEscalation"], &held["privileged"]), (&json!(false), &json!(false)));
        }
    }
}

#[test]
fn no_pod_has_a_capability_a_system_call_beyond_the_default_or_a_disk_to_write_on() {
    for (mode, values) in MODES {
        let rendered = render(values);
        for role in ROLES {
            let held = &rendered.container(role)["securityContext"];
            assert_eq!(held["capabilities"], json!({"drop": ["ALL"]}), "{mode}: {role}");
            assert_eq!(held["readOnlyRootFilesystem"], true, "{mode}: {role}");
            let pod = rendered.pod(role);
            assert_eq!(pod["securityContext"]["seccompProfile"], json!({"type": "RuntimeDefault"}), "{mode}: {role}");
            for host in ["hostNetwork", "hostPID", "hostIPC", "hostUsers"] {
                assert!(pod[host].is_null(), "{mode}: {role} has {host}");
            }
            let volumes = pod["volumes"].as_array().cloned().unwrap_or_default();
            assert!(volumes.iter().all(|volume| volume.get("secret").is_some()), "{mode}: {role}: {volumes:?}");
        }
    }
}

#[test]
fn only_the_pods_of_the_chart_get_a_token_of_its_accounts() {
    let rendered = render(&[]);
    for role in ROLES {
        let account = format!("keywright-{role}");
        assert_eq!(rendered.the("ServiceAccount", &account)["automountServiceAccountToken"], false);
        assert_eq!(rendered.pod(role)["automountServiceAccountToken"], true);
        assert_eq!(rendered.pod(role)["serviceAccountName"], account.as_str());
    }
}

#[test]
fn the_image_is_taken_by_digest_where_there_is_one() {
    let image = |values: &[&str]| {
        let rendered = render(values);
        let [one, other] = ROLES.map(|role| rendered.container(role)["image"].as_str().unwrap().to_owned());
        assert_eq!(one, other);
        one
    };
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let by_digest = format!("image.digest=\"{digest}\"");
    assert_eq!(image(&[]), format!("keywright:{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(image(&["image.tag=\"1.2.3\""]), "keywright:1.2.3");
    let all = ["image.repository=\"example.com/keywright\"", "image.tag=\"1.2.3\"", &by_digest];
    assert_eq!(image(&all), format!("example.com/keywright@{digest}"));
}

#[test]
fn secrets_to_pull_the_image_with_reach_both_pods() {
    let rendered = render(&["image.pullSecrets=[\"registry\"]", "image.pullPolicy=\"Always\""]);
    for role in ROLES {
        assert_eq!(rendered.pod(role)["imagePullSecrets"], json!([{"name": "registry"}]));
        assert_eq!(rendered.container(role)["imagePullPolicy"], "Always");
    }
}

/// The flags that a command knows, from what it says of itself.
fn flags_of(command: &str) -> BTreeSet<String> {
    let help = Command::new(binary()).args([command, "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let flags = help.lines().filter_map(|line| line.trim_start().strip_prefix("--")?.split(' ').next());
    flags.map(str::to_owned).collect()
}

#[test]
fn every_flag_that_the_programs_get_is_one_of_theirs_and_comes_once() {
    for (mode, values) in MODES {
        let rendered = render(values);
        for role in ROLES {
            let (known, args) = (flags_of(role), rendered.args(role));
            assert_eq!(args[0], role);
            let names: Vec<&str> = args[1..].iter().map(|arg| &arg[2..arg.find('=').unwrap_or(arg.len())]).collect();
            for name in &names {
                assert!(*name == "help" || known.contains(*name), "{mode}: {role} knows no --{name}: {known:?}");
            }
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{mode}: {names:?}");
        }
    }
}

#[test]
fn each_value_of_a_flag_reaches_its_program() {
    for (value, role, arg) in [
        ("log.level=\"keywright=debug,warn\"", "operator", "--log=keywright=debug,warn"),
        ("log.level=\"debug\"", "verifier", "--log=debug"),
        ("log.format=\"text\"", "verifier", "--log-format=text"),
        ("watchNamespaces=[\"a\",\"b\"]", "operator", "--watch-namespaces=a,b"),
        ("watchNamespaces=[\"a\",\"b\"]", "verifier", "--watch-namespaces=a,b"),
        ("operator.concurrency=9", "operator", "--concurrency=9"),
        ("operator.expiryWarning=\"1h\"", "operator", "--expiry-warning=1h"),
        ("operator.orphanInterval=\"1h\"", "operator", "--orphan-interval=1h"),
        ("operator.orphanGrace=\"48h\"", "operator", "--orphan-grace=48h"),
        ("operator.argon2.memoryKiB=65536", "operator", "--argon2-memory=65536"),
        ("operator.argon2.iterations=3", "operator", "--argon2-iterations=3"),
        ("operator.argon2.parallelism=2", "operator", "--argon2-parallelism=2"),
        ("verifier.maxStaleness=\"5m\"", "verifier", "--max-staleness=5m"),
        ("verifier.keyHeader=\"x-token\"", "verifier", "--key-header=x-token"),
        ("verifier.authScheme=\"Token\"", "verifier", "--auth-scheme=Token"),
        ("verifier.methodHeader=\"X-Original-Method\"", "verifier", "--method-header=X-Original-Method"),
        ("verifier.clientHeader=\"X-Real-IP\"", "verifier", "--client-header=X-Real-IP"),
        ("verifier.activity.sources=\"none\"", "verifier", "--activity-sources=none"),
        ("verifier.activity.budget=100", "verifier", "--activity-budget=100"),
        ("verifier.accessLog=0.01", "verifier", "--access-log=0.01"),
        ("verifier.argon2Checks=2", "verifier", "--argon2-checks=2"),
        ("verifier.maxConnections=100", "verifier", "--max-connections=100"),
        ("verifier.connectionMemoryMiB=64", "verifier", "--connection-memory=64"),
        ("verifier.peerSharePercent=100", "verifier", "--peer-share=100"),
        ("verifier.grpc.maxMessageKiB=512", "verifier", "--max-message=512"),
        ("verifier.grpc.defaultRequirement=\"scope=any\"", "verifier", "--default-requirement=scope=any"),
        ("verifier.idleTimeout=\"2m\"", "verifier", "--idle-timeout=2m"),
        ("verifier.shutdownDelaySeconds=9", "verifier", "--shutdown-delay=9s"),
        ("verifier.extraArgs=[\"--a b\"]", "verifier", "--a b"),
        ("operator.extraArgs=[\"--a=#b\"]", "operator", "--a=#b"),
    ] {
        let rendered = render(&[value]);
        assert!(rendered.args(role).contains(&arg), "{value}: {:?}", rendered.args(role));
    }
}

#[test]
fn what_a_pod_is_to_have_beside_reaches_it() {
    let rendered = render(&PLACED);
    for role in ROLES {
        let template = &rendered.the("Deployment", &format!("keywright-{role}"))["spec"]["template"];
        assert_eq!(template["metadata"]["labels"]["a"], "b");
        assert_eq!(template["metadata"]["annotations"]["c"], "d");
        let pod = rendered.pod(role);
        assert_eq!(pod["nodeSelector"], json!({"disk": "ssd"}));
        assert_eq!(pod["tolerations"], json!([{"key": "k", "operator": "Exists"}]));
        assert_eq!(pod["affinity"], json!({"podAffinity": {}}));
        assert_eq!(pod["priorityClassName"], "high");
        let own = json!({"name": "KEYWRIGHT_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}});
        let more = json!({"name": "A", "value": "b"});
        let expected = if role == "verifier" { json!([own, more]) } else { json!([more]) };
        assert_eq!(rendered.container(role)["env"], expected);
    }
}

#[test]
fn pods_ask_for_memory_and_are_bounded_in_it_and_never_throttled() {
    let rendered = render(&[]);
    for role in ROLES {
        let resources = &rendered.container(role)["resources"];
        assert!(resources["requests"]["cpu"].is_string() && resources["requests"]["memory"].is_string(), "{role}");
        assert!(resources["limits"]["memory"].is_string() && resources["limits"]["cpu"].is_null(), "{role}");
    }
}

#[test]
fn certificates_are_mounted_where_the_verifier_looks_for_them() {
    let plain = render(&[]);
    assert!(plain.pod("verifier")["volumes"].is_null());
    assert!(plain.args("verifier").iter().all(|arg| !arg.starts_with("--tls")));
    let tls = render(&[r#"verifier.tls={"secretName":"a","clientCASecretName":"b"}"#]);
    let mounts = tls.container("verifier")["volumeMounts"].as_array().unwrap();
    for (flag, file, secret) in
        [("--tls-cert", "tls.crt", "a"), ("--tls-key", "tls.key", "a"), ("--tls-client-ca", "ca.crt", "b")]
    {
        let args = tls.args("verifier");
        let path = args.iter().find_map(|arg| arg.strip_prefix(flag)?.strip_prefix('=')).unwrap();
        let (folder, name) = path.rsplit_once('/').unwrap();
        assert_eq!(name, file);
        let mount = mounts.iter().find(|mount| mount["mountPath"] == folder).unwrap();
        let mut volumes = tls.pod("verifier")["volumes"].as_array().unwrap().iter();
        let volume = volumes.find(|volume| volume["name"] == mount["name"]).unwrap();
        assert_eq!((&volume["secret"]["secretName"], &mount["readOnly"]), (&json!(secret), &json!(true)));
    }
}

#[test]
fn of_the_authority_of_clients_only_the_certificate_is_in_the_pod() {
    let tls = render(&[r#"verifier.tls={"secretName":"a","clientCASecretName":"b"}"#]);
    let of = |volume: &&Value| volume["secret"]["secretName"] == "b";
    let volumes = tls.pod("verifier")["volumes"].as_array().unwrap();
    assert_eq!(volumes.iter().find(of).unwrap()["secret"]["items"], json!([{"key": "ca.crt", "path": "ca.crt"}]));
}
