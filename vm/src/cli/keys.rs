//! The key of this party: made here, read here, never leaves this machine.
use super::{Failure, net, output};
use ir::text::escape;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519};
use runtime_protocols::link::{Certificate, Fingerprint, Identity, TlsError, tls};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};
use zeroize::Zeroizing;

/// The private key, beside `net.toml`.
pub const KEY: &str = "party.key";
/// The certificate, which the others get.
pub const CERTIFICATE: &str = "party.crt";
/// Bytes of a key or certificate that are read, at most.
const MAX_FILE: u64 = 64 << 10;
/// The same of a list of clients.
const MAX_LIST: u64 = 16 << 20;
const DAY: u64 = 24 * 3600;
/// How long before its end a certificate is complained about.
const WARNING_DAYS: i64 = 30;

fn config(path: &Path, e: impl std::fmt::Display) -> Failure {
    Failure::new(Failure::CONFIG, format!("{}: {e}", path.display()))
}

/// Certificate and key in PEM, valid from `age` days ago for `days`.
pub fn generate(name: &str, age: u64, days: u64) -> Result<(String, Zeroizing<String>), Failure> {
    let bug = |e: rcgen::Error| Failure::new(Failure::BUG, format!("no key could be made: {e}"));
    let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(bug)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let start = SystemTime::now() - Duration::from_secs(age * DAY);
    params.not_before = start.into();
    params.not_after = (start + Duration::from_secs(days * DAY)).into();
    let certificate = params.self_signed(&pair).map_err(bug)?;
    Ok((certificate.pem(), Zeroizing::new(pair.serialize_pem())))
}

/// Writes both files into `dir`; refuses to replace a key.
pub fn write(dir: &Path, certificate: &str, key: &str) -> Result<(), Failure> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| config(dir, e))?;
    let path = dir.join(KEY);
    let created = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let mut file = match created {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(config(
                &path,
                "there is a key already; peers have pinned it, so take another folder or remove it",
            ));
        }
        other => other.map_err(|e| config(&path, e))?,
    };
    // Whatever the umask is.
    let private = file.set_permissions(fs::Permissions::from_mode(0o600));
    private
        .and_then(|()| file.write_all(key.as_bytes()))
        .and_then(|()| file.sync_all())
        .map_err(|e| Failure::new(ir::exit::of_write(&e), format!("{}: {e}", path.display())))
        .and_then(|()| output::write_atomic(&dir.join(CERTIFICATE), certificate.as_bytes()))
        // Half a key, or one without its certificate, would stand in the way of the next try.
        .inspect_err(|_| drop(fs::remove_file(&path)))
}

/// The command `keygen`.
pub fn keygen(name: &str, dir: &Path, days: u32) -> Result<(), Failure> {
    let fits = |c: char| c.is_alphanumeric() || "-_. ".contains(c);
    if name.is_empty() || name.len() > 60 || !name.chars().all(fits) {
        return Err(Failure::new(Failure::USAGE, "`--name`: up to 60 letters, digits, `-`, `_`, `.` and spaces"));
    }
    // A day back, for clocks that differ.
    let (certificate, key) = generate(name, 1, u64::from(days) + 1)?;
    write(dir, &certificate, &key)?;
    let certificate = read_certificate(&dir.join(CERTIFICATE))?;
    say!("key          {}   private: it never leaves this machine", dir.join(KEY).display());
    say!("certificate  {}   give it to the other parties", dir.join(CERTIFICATE).display());
    say!("fingerprint  {}", certificate.fingerprint);
    say!("valid until  {}", certificate.dates[1]);
    eprintln!("next: read the fingerprint to the other parties over the phone, then `qnnvm net init`");
    Ok(())
}

/// Reads a certificate of this party or of another.
pub fn read_certificate(path: &Path) -> Result<Certificate, Failure> {
    let bytes = super::load::read(path, MAX_FILE, Failure::CONFIG)?;
    Certificate::from_pem(&bytes).map_err(|e| config(path, e))
}

/// Reads key and certificate of this party, which must be the one that `net.toml` names; warns when they end soon.
pub fn identity(net: &net::Net, me: usize) -> Result<Option<Identity>, Failure> {
    let (true, Some(dir)) = (net.tls, net.keys.as_ref().or(net.dir.as_ref())) else { return Ok(None) };
    let identity = from_folder(dir)?;
    let path = dir.join(CERTIFICATE);
    let own = identity.certificate.fingerprint;
    if net.stations[me].fingerprint != Some(own) {
        let whose = net.stations.iter().position(|s| s.fingerprint == Some(own));
        let whose = whose.map_or("no party".to_owned(), |p| format!("party {p} ({})", net.names[p]));
        let what = format!("this is the certificate of {whose} in `net.toml`, not of party {me}: {own}");
        return Err(config(&path, what));
    }
    Ok(Some(identity))
}

/// Reads key and certificate from a folder; warns when they end soon.
pub fn from_folder(dir: &Path) -> Result<Identity, Failure> {
    let (key_path, path) = (dir.join(KEY), dir.join(CERTIFICATE));
    let about = fs::metadata(&key_path).map_err(|e| config(&key_path, e))?;
    // What root gives to a service, as a secret of a pod or a credential of a unit, is read by its group, and not by root.
    let given = about.uid() == 0 && !rustix::process::geteuid().is_root();
    let others = if given { 0o037 } else { 0o077 };
    let mode = about.permissions().mode();
    if mode & others != 0 {
        let what = format!("mode {:04o} lets others read the key; `chmod 600` it, or make a new one", mode & 0o7777);
        return Err(config(&key_path, what));
    }
    let key = Zeroizing::new(super::load::read(&key_path, MAX_FILE, Failure::CONFIG)?);
    let certificate = super::load::read(&path, MAX_FILE, Failure::CONFIG)?;
    let identity = Identity::from_pem(&certificate, &key).map_err(|e| match e {
        TlsError::Key(_) => config(&key_path, e),
        e => config(&path, e),
    })?;
    let now = tls::now();
    identity.certificate.check_dates(now).map_err(|e| {
        Failure::new(Failure::AUTHENTICATION, format!("{}: {e}; make a new one with `qnnvm keygen`", path.display()))
    })?;
    let days = (identity.certificate.valid[1] - now) / DAY.cast_signed();
    if days < WARNING_DAYS {
        eprintln!("warning: own certificate expires in {days} days, on {}", escape(&identity.certificate.dates[1]));
    }
    Ok(identity)
}

/// Reads the clients that a server knows: a fingerprint a line, then what people call them; `#` begins a remark.
pub fn clients(path: &Path) -> Result<Vec<Fingerprint>, Failure> {
    let text = super::load::read(path, MAX_LIST, Failure::CONFIG)?;
    let text = String::from_utf8(text).map_err(|e| config(path, e))?;
    let line = |(i, line): (usize, &str)| {
        let pin = line.split('#').next()?.split_whitespace().next()?;
        Some(pin.parse().map_err(|e| config(path, format!("line {}: {e}", i + 1))))
    };
    let all: Vec<Fingerprint> = text.lines().enumerate().filter_map(line).collect::<Result<_, _>>()?;
    if all.is_empty() { Err(config(path, "no fingerprint: nobody could connect")) } else { Ok(all) }
}
