//! The two ends of new connections, as modes of this program that are run inside a network: `accept PORT` greets everybody
//! and closes, `connect ADDRESS COUNT` connects one after the other and prints how many a second it were.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

const PATIENCE: Duration = Duration::from_secs(5);
const GREETING: &[u8] = b"hello";

/// Runs as one of the ends, if so asked.
pub fn mode(args: &[String]) -> Option<Result<()>> {
    match args {
        [mode, port] if mode == "accept" => Some(accept(port)),
        [mode, address, count] if mode == "connect" => Some(connect(address, count)),
        _ => None,
    }
}

fn accept(port: &str) -> Result<()> {
    for client in TcpListener::bind(("0.0.0.0", port.parse()?))?.incoming() {
        // A client that is gone already is no reason to stop.
        let _greeted = client?.write_all(GREETING);
    }
    Ok(())
}

fn connect(address: &str, count: &str) -> Result<()> {
    let (address, count): (SocketAddr, u32) = (address.parse()?, count.parse()?);
    let mut seen = Vec::new();
    let began = Instant::now();
    for number in 0..count {
        let mut server = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("connection {number}"))?;
        server.set_read_timeout(Some(PATIENCE))?;
        seen.clear();
        server.read_to_end(&mut seen)?;
        ensure!(seen == GREETING, "another server");
    }
    let rate = f64::from(count) / began.elapsed().as_secs_f64();
    writeln!(std::io::stdout(), "{rate:.1}")?;
    Ok(())
}
