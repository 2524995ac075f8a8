//! `skep-signer`: an external CA for tests and for trying. `make FOLDER` writes a root, `ca.pem` and `ca.key`; `serve LISTEN FOLDER
//! CLIENTS` signs for it and prints for whom. `CLIENTS` is a file with the roots of those that may ask. A line `away` on its input has
//! it refuse all, another line ends that.

mod cfssl;

use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};

use cfssl::{Root, Signer, make_root};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["make", folder] => {
            let (folder, root) = (Path::new(folder), make_root("external root")?);
            std::fs::write(folder.join("ca.pem"), root.certificate_pem)?;
            std::fs::write(folder.join("ca.key"), root.key_pem)?;
            Ok(())
        }
        ["serve", listen, folder, clients] => {
            let read = |name: &str| {
                let path = Path::new(folder).join(name);
                std::fs::read_to_string(&path).with_context(|| path.display().to_string())
            };
            let root = Root { certificate_pem: read("ca.pem")?, key_pem: read("ca.key")? };
            let clients = root.certificate_pem.clone() + &std::fs::read_to_string(clients)?;
            let signer = Signer::start(listen.parse()?, &root, &clients)?;
            let away = signer.away.clone();
            std::thread::spawn(move || {
                for line in std::io::stdin().lines().map_while(Result::ok) {
                    away.store(line == "away", Ordering::Relaxed);
                }
            });
            let mut out = std::io::stdout();
            writeln!(out, "{}", signer.url)?;
            while let Ok(name) = signer.signed.recv() {
                writeln!(out, "signed {name}")?;
            }
            Ok(())
        }
        _ => bail!("skep-signer make FOLDER | serve LISTEN FOLDER CLIENTS"),
    }
}
