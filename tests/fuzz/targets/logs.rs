//! The framing of output: an engine's stream in any pieces is the same lines, and ours is read as what was written.

use bytes::Bytes;
use skep::engine::docker::demultiplex;
use skep_api::backend::{LogItem, LogLine};
use skep_api::fake::{Fake, node_id};
use skep_core::id::TaskId;
use skep_core::time::Timestamp;

use super::{choose, specs};

/// Takes an engine's stream apart, or has lines framed and takes them apart.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = choose(data, 3) else { return };
    match choice {
        0 | 1 => pieces(choice == 1, rest),
        _ => there_and_back(rest),
    }
}

fn pieces(tty: bool, data: &[u8]) {
    let Some((size, stream)) = choose(data, 64) else { return };
    let whole = demultiplex(tty, [stream]);
    let parts = demultiplex(tty, stream.chunks(usize::from(size) + 1));
    let show = |lines: &[Result<_, _>]| format!("{lines:?}");
    assert_eq!(show(&whole), show(&parts), "the pieces make a difference");
    let kept: usize = whole.iter().flatten().map(|line| line.data.len()).sum();
    assert!(kept <= stream.len(), "lines are longer than what came");
}

/// Frames lines as `docker service logs --timestamps --details` gets them.
fn there_and_back(data: &[u8]) {
    let lines: Vec<LogLine> = data
        .split(|byte| *byte == b'\n')
        .take(20)
        .zip(0_i64..)
        .map(|(text, number)| LogLine {
            stderr: number % 2 == 1,
            at: Timestamp(1_700_000_000_000_000_000 + number),
            attributes: vec![(String::from_utf8_lossy(text).into_owned(), "a b,c=d%".to_owned())],
            task: TaskId::from_entropy(3),
            service: None,
            node: node_id(),
            data: Bytes::from([text, b"\n"].concat()),
        })
        .collect();
    let world = Fake::cluster();
    world.say(lines.iter().cloned().map(LogItem::Line).collect());
    let spec = r#"{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"i"}}}"#;
    specs::send(&world, "POST", "/services/create", spec);
    let path = "/services/web/logs?stdout=1&stderr=1&timestamps=1&details=1";
    let framed = specs::body(&world, "GET", path, "").expect("a valid request");
    let read = demultiplex(false, [&framed[..]]);
    assert_eq!(read.len(), lines.len());
    for (read, sent) in read.into_iter().zip(lines) {
        let read = read.expect("no frame tells of an error");
        assert_eq!((read.stderr, read.at, &read.data), (sent.stderr, sent.at, &sent.data));
        let kept = read.attributes.iter().any(|pair| *pair == sent.attributes[0]);
        assert!(kept, "{:?} lacks {:?}", read.attributes, sent.attributes);
    }
}
