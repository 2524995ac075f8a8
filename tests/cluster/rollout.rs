//! Updates of services: their order, their failure, the way back.

use skep_core::model::service::UpdateState;

use crate::spec::{FIRST, MISSING, SECOND, update, web, with_image};
use crate::world::{Daemon, Site, image_of};

/// Updates one task in the given order and returns what was started and stopped.
async fn history(order: &str) -> Vec<String> {
    let site = Site::new();
    let daemon = site.cluster().await;
    daemon.create(&web(1)).await;
    daemon.tasks_running("web", 1, FIRST).await;
    let mut spec = with_image(web(1), SECOND);
    spec["UpdateConfig"] = update(order, "pause");
    daemon.update(&spec).await;
    daemon.update_is("web", UpdateState::Completed).await;
    daemon.tasks_running("web", 1, SECOND).await;
    daemon.stop().await;
    site.engine.history()
}

#[tokio::test]
async fn stop_first_stops_before_it_starts() {
    assert_eq!(history("stop-first").await, ["start web:1", "stop web:1", "start web:2"]);
}

#[tokio::test]
async fn start_first_starts_before_it_stops() {
    assert_eq!(history("start-first").await, ["start web:1", "start web:2", "stop web:1"]);
}

#[tokio::test]
async fn an_update_goes_one_by_one_and_a_rollback_brings_the_old_spec_back() {
    let site = Site::new();
    let daemon = site.cluster().await;
    daemon.create(&web(3)).await;
    daemon.tasks_running("web", 3, FIRST).await;
    daemon.update(&with_image(web(3), SECOND)).await;
    daemon.update_is("web", UpdateState::Completed).await;
    daemon.tasks_running("web", 3, SECOND).await;
    let expected = ["stop web:1", "start web:2"].repeat(3);
    assert_eq!(site.engine.history()[3..], expected);

    let version = &daemon.client.get("/services/web").await.ok()["Version"]["Index"];
    let path = format!("/services/web/update?version={version}&rollback=previous");
    daemon.client.post(&path, &web(3)).await.ok();
    daemon.update_is("web", UpdateState::RollbackCompleted).await;
    daemon.tasks_running("web", 3, FIRST).await;
    daemon.stop().await;
}

/// Updates three tasks to an image that is nowhere.
async fn fail(daemon: &Daemon, failure_action: &str) {
    daemon.create(&web(3)).await;
    daemon.tasks_running("web", 3, FIRST).await;
    let mut spec = with_image(web(3), MISSING);
    spec["UpdateConfig"] = update("start-first", failure_action);
    daemon.update(&spec).await;
}

#[tokio::test]
async fn a_failed_update_rolls_back_if_asked_to() {
    let site = Site::new();
    let daemon = site.cluster().await;
    fail(&daemon, "rollback").await;
    daemon.update_is("web", UpdateState::RollbackCompleted).await;
    daemon.tasks_running("web", 3, FIRST).await;
    let shown = daemon.client.get("/services/web").await.ok();
    assert_eq!(shown["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"], FIRST);
    assert_eq!(shown["UpdateStatus"]["State"], "rollback_completed");
    assert_eq!(site.engine.starts(), 3, "tasks that were never replaced go on");
    daemon.stop().await;
}

#[tokio::test]
async fn a_failed_update_pauses_with_the_other_tasks_as_they_were() {
    let site = Site::new();
    let daemon = site.cluster().await;
    fail(&daemon, "pause").await;
    daemon.update_is("web", UpdateState::Paused).await;
    let old = daemon.running().len();
    assert_eq!(old, 3, "start-first keeps what runs until its replacement does");
    let missing = daemon.state().tasks().values().any(|task| {
        image_of(task) == MISSING && task.status.error.contains("No such image: web:missing")
    });
    assert!(missing, "the task tells why");
    daemon.stop().await;
}
