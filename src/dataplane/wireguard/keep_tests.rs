//! The keeper, where the kernel has WireGuard; where it has none, that is said.

use skep_core::net::kernel::Desired;
use tokio::task::JoinHandle;

use super::fixture::{told, wanted, with_wireguard};
use super::*;

/// A keeper, and what it is told and tells.
struct Keeper {
    known: watch::Receiver<OwnKey>,
    plan: watch::Sender<Option<Arc<Desired>>>,
    stirred: watch::Sender<()>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Keeper {
    fn start(wireguard: Option<WireGuard>) -> Self {
        let desired = Desired { wireguard, ..Desired::default() };
        let (plan, (stirred, stirs)) =
            (watch::Sender::new(Some(Arc::new(desired))), watch::channel(()));
        let (key, stop) = (watch::Sender::default(), CancellationToken::new());
        let known = key.subscribe();
        let task = tokio::spawn(Box::pin(keep(plan.subscribe(), key, stirs, stop.clone())));
        Self { known, plan, stirred, stop, task }
    }

    /// Waits until the node has a key other than this one.
    async fn key_after(&mut self, old: Option<TunnelKey>) -> TunnelKey {
        let is_new = |key: &OwnKey| matches!(key, OwnKey::Known(Some(key)) if Some(*key) != old);
        let found = *self.known.wait_for(is_new).await.expect("it is kept");
        let OwnKey::Known(Some(key)) = found else { panic!("{found:?}") };
        key
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("it ends");
    }
}

#[test]
fn the_kernels_link_outlives_its_keeper_and_is_made_anew_where_it_went() {
    with_wireguard(|one, _two, _family| {
        let goal = || Some(wanted(1, told(2, TunnelKey([7; 32]))));
        one.run(async {
            let mut keeper = Keeper::start(goal());
            let key = keeper.key_after(None).await;
            keeper.end().await;
            let mut keeper = Keeper::start(goal());
            assert_eq!(OwnKey::known(&mut keeper.known).await, Some(key), "the first it knows");
            link::remove(&one.handle).await.expect("it goes");
            keeper.stirred.send_replace(());
            let renewed = keeper.key_after(Some(key)).await;
            let Carrier::Kernel(_) = carrier().await.expect("it looks") else {
                panic!("the kernel does not have it")
            };
            // No network needs it any more: it stays, with its key.
            keeper.plan.send_replace(Some(Arc::default()));
            keeper.end().await;
            let mut keeper = Keeper::start(None);
            assert_eq!(OwnKey::known(&mut keeper.known).await, Some(renewed));
            keeper.end().await;
            end().await;
            assert_eq!(carrier().await.expect("it looks"), Carrier::Nobody);
        });
    });
}
