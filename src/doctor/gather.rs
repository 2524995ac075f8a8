//! Looks at the machine: the engine and the daemon over their sockets, the kernel through /proc and /sys, files and disks.
//! Judges nothing.

mod clock;
mod data;
mod disk;
mod kernel;
mod ports;
mod process;
mod server;

use std::path::{Path, PathBuf};

use skep::config::{Address, Config};

use super::facts::{Disk, Facts, Folder, Mounts, Reach, Server, Tmpfs};

/// Looks at everything once.
pub async fn gather(config: &Config) -> Facts {
    let engine = server::look(&config.engine).await;
    let daemon = match config.hosts.first() {
        Some(host) => server::look(host).await,
        None => Server::default(),
    };
    let port_of_data_path = server::data_path_port(&daemon, config.hosts.first()).await;
    let network = server::network(&daemon, config.hosts.first()).await;
    let path = config.data_dir.clone();
    let identity = data::identity(&path);
    let listen = identity.as_ref().ok().and_then(Option::as_ref).map(|identity| identity.listen);
    let (data, certificate) = data::look(&path, identity);
    let root = nix::unistd::geteuid().is_root();
    let writable = root
        || matches!(&data.folder, Folder::Found { owner, .. } if *owner == nix::unistd::geteuid().as_raw());
    Facts {
        now_unix: skep::clock::now().0.div_euclid(1_000_000_000),
        root,
        kernel: kernel::look(root).await,
        network,
        ports: ports::look(listen, port_of_data_path, daemon.pid, root),
        clock: clock::look(),
        disks: disks(&path, &engine, writable),
        data,
        certificate,
        files_max: process::files_max(daemon.pid),
        tmpfs: tmpfs(&config.run_dir, root, &daemon),
        mounts: mounts(&config.engine, &engine, &daemon),
        engine,
        daemon,
    }
}

fn disks(data_dir: &Path, engine: &Server, writable: bool) -> Vec<Disk> {
    let mut disks = vec![disk::look("data", data_dir, true, writable)];
    if let Some(root) = engine.info["DockerRootDir"].as_str() {
        disks.push(disk::look("engine", Path::new(root), false, false));
    }
    disks
}

fn mounts(address: &Address, engine: &Server, daemon: &Server) -> Mounts {
    // A socket that systemd made belongs to systemd, not to the engine.
    let noted = || std::fs::read_to_string("/run/docker.pid").ok()?.trim().parse().ok();
    let pid = match (engine.pid, address) {
        (Some(pid), _) if pid > 1 => Some(pid),
        (Some(_) | None, Address::Unix(_)) if engine.reach == Reach::Answers => noted(),
        (Some(_) | None, _) => None,
    };
    let of = |process: &str| {
        let link = std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok()?;
        Some(link.to_string_lossy().into_owned())
    };
    let ours = match daemon.pid {
        Some(pid) => of(&pid.to_string()),
        None => of("self"),
    };
    Mounts { engine: pid.and_then(|pid| of(&pid.to_string())), ours }
}

/// Mounts a file system in memory for a moment, unless the daemon has one.
fn tmpfs(run_dir: &Path, root: bool, daemon: &Server) -> Tmpfs {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    let node = daemon.info["Swarm"]["NodeID"].as_str().filter(|node| !node.is_empty());
    if let Some(node) = node
        && disk::in_memory(&run_dir.join(node))
        && daemon.pid.is_some()
    {
        return Tmpfs::Mounted;
    }
    if !root {
        return Tmpfs::Untried;
    }
    let place = PathBuf::from(format!("/run/.skep-doctor-{}", std::process::id()));
    let tried = std::fs::create_dir(&place).and_then(|()| {
        let mounted =
            mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), Some("size=64k"))
                .and_then(|()| umount2(&place, MntFlags::MNT_DETACH));
        mounted.map_err(std::io::Error::from)
    });
    // What is left of it is an empty folder in memory.
    let _ = std::fs::remove_dir(&place);
    match tried {
        Ok(()) => Tmpfs::Works,
        Err(error) => Tmpfs::Fails(error.to_string()),
    }
}
