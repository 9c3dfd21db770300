
#[tokio::test]
async fn requests_need_no_thread() {
    let tree = Supervisor::new(Strategy::OneForOne).start_async().await.unwrap();
    let c = counter("c").start_timeout(Duration::from_secs(7));
    tree.start_child_async(c).await.unwrap().unwrap();
    assert_eq!(tree.count_children_async().await.active, 1);
    tree.terminate_child_async("c").await.unwrap();
    assert_eq!(tree.which_children_async().await[0].state, ChildState::Down);
    tree.restart_child_async("c").await.unwrap().unwrap();
    let spec = tree.childspec("c").unwrap();
    assert_eq!((spec.restart, spec.start_timeout), (Restart::Permanent, Duration::from_secs(7)));
    assert!(tree.childspec("d").is_none());
    let error = tree.delete_child_async("c").await.unwrap_err();
    assert!(matches!(error, SupervisorError::Request(RequestError::Running)), "{error}");
    tree.terminate_child_async("c").await.unwrap();
    tree.delete_child_async("c").await.unwrap();
    tree.stop_async().await.unwrap();

    let tree = Supervisor::new(Strategy::Dynamic { max_children: 1 })
        .child(ChildSpec::process("worker", |_: u8| sleeper(), (0u8,)))
        .start_async()
        .await
        .unwrap();
    let worker = tree.start_dynamic_async(&(1u8,)).await.unwrap().unwrap();
    tree.terminate_dynamic_async(worker).await.unwrap();
    tree.stop_async().await.unwrap();
}
