//! Gets images onto the host. Pulls of one image at the same time are one pull; a registry out of reach delays no task
//! whose image is here.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use skep_core::model::Sensitive;
use skep_core::time::Timestamp;
use tokio::sync::{OnceCell, Semaphore, watch};
use tracing::{debug, info, warn};

use crate::clock;
use crate::engine::Engine;

/// How long an image that is here waits for the first sign of a registry.
const CONTACT_WAIT: Duration = Duration::from_secs(2);

/// How long a failure counts for others, if the image is here and if it is not.
const FAILURE_KEPT: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(2));

/// Longest pull.
const PULL_MAX: Duration = Duration::from_secs(30 * 60);

/// Most pulls at once.
const PULLS_MAX: usize = 3;

/// Most outcomes remembered.
const OUTCOMES_MAX: usize = 1000;

/// How far a pull is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Asking,
    Contact,
    Done,
    Failed(Timestamp),
}

/// Images on their way.
pub(super) struct Images {
    engine: Arc<dyn Engine>,
    /// By image and a hash of the credentials.
    pulls: Mutex<HashMap<(String, u64), watch::Receiver<Phase>>>,
    /// Questions to the engine under way: tasks that begin together ask once.
    asked: Mutex<HashMap<String, Arc<OnceCell<bool>>>>,
    turns: Arc<Semaphore>,
}

impl Images {
    pub(super) fn new(engine: Arc<dyn Engine>) -> Self {
        let turns = Arc::new(Semaphore::new(PULLS_MAX));
        Self { engine, pulls: Mutex::default(), asked: Mutex::default(), turns }
    }

    /// Tries to get the newest image of that name. What fails is only logged: making the container tells users.
    pub(super) async fn fetch(&self, image: &str, auth: &Sensitive) {
        let here = self.is_here(image).await;
        if here && is_exact(image) {
            return;
        }
        let mut phase = self.join_pull(image, auth, here);
        if here {
            tokio::select! {
                _ = phase.wait_for(|phase| *phase != Phase::Asking) => {}
                () = clock::sleep(CONTACT_WAIT) => {
                    debug!(image.name = image, "no answer from the registry, using the local image");
                    return;
                }
            }
        }
        // Also ends when the pull's task does.
        let _ = phase.wait_for(|phase| matches!(phase, Phase::Done | Phase::Failed(_))).await;
    }

    async fn is_here(&self, image: &str) -> bool {
        let asked = self.asked.lock().entry(image.to_owned()).or_default().clone();
        let here = asked
            .get_or_init(|| async { self.engine.has_image(image).await.unwrap_or_default() })
            .await;
        // The next task's question is a new one.
        let mut under_way = self.asked.lock();
        if under_way.get(image).is_some_and(|held| Arc::ptr_eq(held, &asked)) {
            under_way.remove(image);
        }
        *here
    }

    /// Joins the pull under way, takes a recent failure as it is, or begins a pull.
    fn join_pull(&self, image: &str, auth: &Sensitive, here: bool) -> watch::Receiver<Phase> {
        let now = clock::uptime();
        let kept = if here { FAILURE_KEPT.0 } else { FAILURE_KEPT.1 };
        let mut hasher = DefaultHasher::new();
        auth.0.hash(&mut hasher);
        let key = (image.to_owned(), hasher.finish());
        let mut pulls = self.pulls.lock();
        let counts = |phase: Phase, alive: bool| match phase {
            Phase::Asking | Phase::Contact => alive,
            Phase::Done => false,
            Phase::Failed(at) => now.since(at) < kept,
        };
        let held = pulls.get(&key);
        if let Some(held) = held.filter(|held| counts(*held.borrow(), held.has_changed().is_ok())) {
            return held.clone();
        }
        if pulls.len() >= OUTCOMES_MAX {
            pulls.retain(|_, held| counts(*held.borrow(), held.has_changed().is_ok()));
        }
        let (sender, receiver) = watch::channel(Phase::Asking);
        pulls.insert(key, receiver.clone());
        drop(pulls);
        // Belongs to no single task of the cluster: the first asker may go away. Ends by its own limit.
        let pull = run_pull(
            self.engine.clone(),
            self.turns.clone(),
            image.to_owned(),
            auth.clone(),
            sender,
        );
        tokio::spawn(pull);
        receiver
    }
}

async fn run_pull(
    engine: Arc<dyn Engine>,
    turns: Arc<Semaphore>,
    image: String,
    auth: Sensitive,
    sender: watch::Sender<Phase>,
) {
    let progress = || {
        sender.send_if_modified(|phase| {
            let first = *phase == Phase::Asking;
            *phase = Phase::Contact;
            first
        });
    };
    let Ok(_turn) = turns.acquire().await else { return };
    let pull = engine.pull(&image, &auth, &progress);
    let outcome = match tokio::time::timeout(PULL_MAX, pull).await {
        Ok(Ok(())) => Phase::Done,
        Ok(Err(error)) => {
            info!(image.name = %image, %error, "pull failed");
            Phase::Failed(clock::uptime())
        }
        Err(_) => {
            warn!(image.name = %image, "pull took too long");
            Phase::Failed(clock::uptime())
        }
    };
    sender.send_replace(outcome);
}

/// Tells whether a reference names one image for ever: an id or a digest.
fn is_exact(image: &str) -> bool {
    let hex = image.strip_prefix("sha256:").unwrap_or(image);
    image.contains("@sha256:") || (hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}
