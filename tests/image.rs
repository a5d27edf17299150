//! How the image is packed. What is packed takes minutes to compile and is not built here: docs/IMAGE.md tells what was seen.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// Packs a folder with one program of this mode and age, and says where the archive and what its digest is.
fn packed(folder: &TempDir, mode: u32, modified: &str) -> (PathBuf, String) {
    let root_folder = folder.path().join("root");
    let archive = folder.path().join("image.tar");
    fs::create_dir_all(&root_folder).unwrap();
    let program = root_folder.join("keywright");
    fs::write(&program, "a program").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
    run(Command::new("touch").arg("--date").arg(modified).arg(&program));
    let digest = run(Command::new(root().join("image/oci"))
        .args([root_folder.to_str().unwrap(), archive.to_str().unwrap(), "example.org/keywright:1.2.3", "/keywright"])
        .arg("org.opencontainers.image.title=keywright")
        .env("SOURCE_DATE_EPOCH", "1700000000"));
    (archive, digest.trim().to_owned())
}

/// An unpacked archive.
struct Layout(TempDir);

impl Layout {
    fn of(archive: &Path) -> Self {
        let layout = Self(TempDir::new().unwrap());
        run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(layout.0.path()));
        layout
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&fs::read(self.0.path().join(path)).unwrap()).unwrap()
    }

    /// The file that a descriptor points to, if it has the size and the digest that it should.
    fn blob(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let path = self.0.path().join("blobs/sha256").join(digest);
        assert_eq!(fs::metadata(&path).unwrap().len(), descriptor["size"].as_u64().unwrap());
        assert_eq!(run(Command::new("sha256sum").arg(&path)).split(' ').next().unwrap(), digest);
        path
    }

    fn json_blob(&self, descriptor: &Value) -> Value {
        serde_json::from_slice(&fs::read(self.blob(descriptor)).unwrap()).unwrap()
    }
}

#[test]
fn an_archive_is_an_image_of_the_program_and_nothing_else_for_a_user_without_rights() {
    let folder = TempDir::new().unwrap();
    let (archive, digest) = packed(&folder, 0o555, "2020-02-02");
    let layout = Layout::of(&archive);
    assert_eq!(layout.json("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}));
    let index = layout.json("index.json");
    let [entry] = index["manifests"].as_array().unwrap().as_slice() else { panic!("{index}") };
    assert_eq!(entry["digest"], digest);
    assert_eq!(entry["annotations"]["io.containerd.image.name"], "example.org/keywright:1.2.3");

    let manifest = layout.json_blob(entry);
    let config = layout.json_blob(&manifest["config"]);
    assert_eq!(config["created"], "2023-11-14T22:13:20Z");
    assert_eq!(
        config["config"],
        json!({
            "User": "65532:65532",
            "Entrypoint": ["/keywright"],
            "Labels": {"org.opencontainers.image.title": "keywright"},
        })
    );

    let [layer] = manifest["layers"].as_array().unwrap().as_slice() else { panic!("{manifest}") };
    let layer = layout.blob(layer);
    let plain = run(Command::new("sh").arg("-c").arg("gzip -dc \"$0\" | sha256sum").arg(&layer));
    assert_eq!(config["rootfs"]["diff_ids"], json!([format!("sha256:{}", plain.split(' ').next().unwrap())]));
    let listed = run(Command::new("tar").args(["--list", "--verbose", "--numeric-owner", "-zf"]).arg(&layer));
    let words: Vec<_> = listed.split_whitespace().collect();
    assert_eq!(words, ["-rwxr-xr-x", "0/0", "9", "1970-01-01", "00:00", "keywright"]);
}

#[test]
fn the_same_program_is_packed_into_the_same_bytes_elsewhere_and_later() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (one, _) = packed(&first, 0o755, "2020-02-02");
    let (other, _) = packed(&second, 0o775, "2021-03-03");
    assert_eq!(fs::read(one).unwrap(), fs::read(other).unwrap());
}

#[test]
fn the_dockerfile_says_what_cargo_toml_and_the_toolchain_say() {
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    let dockerfile = read("Dockerfile");
    let quoted = |file: &str, key: &str| {
        let text = read(file);
        let line = text.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    };
    for (label, key) in [
        ("title", "name"),
        ("description", "description"),
        ("source", "repository"),
        ("version", "version"),
        ("licenses", "license"),
    ] {
        let line = format!("org.opencontainers.image.{label}=\"{}\"", quoted("Cargo.toml", key));
        assert!(dockerfile.contains(&line), "the Dockerfile lacks {line}");
    }
    let toolchain = quoted("rust-toolchain.toml", "channel");
    for line in [format!("rust:{toolchain}-bookworm@sha256:"), format!("ENV RUSTUP_TOOLCHAIN={toolchain}")] {
        assert!(dockerfile.contains(&line), "the Dockerfile lacks {line}");
    }
    assert!(dockerfile.ends_with("USER 65532:65532\nENTRYPOINT [\"/keywright\"]\n"));
}

#[test]
fn base_images_are_pinned_by_digest() {
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let bases: Vec<_> = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    assert!(bases.len() > 1, "{bases:?}");
    for base in bases {
        let image = base.split(' ').next().unwrap();
        let digest = image.split_once("@sha256:").map(|(_, digest)| digest);
        let is_digest = |digest: &str| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(image == "scratch" || digest.is_some_and(is_digest), "{base} can change under its tag");
    }
}

#[test]
fn dependencies_are_checked_against_advisories() {
    let deny = fs::read_to_string(root().join("deny.toml")).unwrap();
    for line in ["[advisories]", "yanked = \"deny\"", "unmaintained = \"all\""] {
        assert!(deny.lines().any(|one| one == line), "deny.toml lacks {line}");
    }
}
