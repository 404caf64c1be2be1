use tidegate_config::overlay::{Edit, Kind, Target};

use super::*;

/// A configuration file and a state directory that go with the test.
struct Node(PathBuf);

impl Node {
    fn new(name: &str) -> Self {
        let dir =
            std::env::temp_dir().join(format!("tidegate-control-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir(&dir).unwrap();
        let node = Self(dir);
        node.write(&node.text(30));
        node
    }

    /// A good file that differs in one number.
    fn text(&self, drain: u32) -> String {
        format!(
            "[router]\nasn = 65001\nrouter-id = \"192.0.2.1\"\ninterfaces = [\"lo\"]\n\
             state-dir = \"{}/state\"\n[[service]]\nname = \"web\"\nvip = \"198.51.100.10\"\n\
             port = 80\ndrain = \"{drain}s\"\n[[service.backend]]\naddress = \"10.0.0.1\"\n",
            self.0.display()
        )
    }

    fn file(&self) -> PathBuf {
        self.0.join("tidegate.toml")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.file(), text).unwrap();
    }

    /// What a daemon that starts here finds in force: its drain time, and what is said of it.
    fn start(&self) -> (u64, ConfigFile, Control) {
        let (config, control) = at_start(&self.file()).unwrap();
        (config.desired.services["web"].drain.as_secs(), config, control)
    }

    fn checked(&self, drain: u32) -> ConfigFile {
        config_file::check(&self.file(), self.text(drain), Overlay::default()).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn said(cause: &'static str) -> Said {
    Said { who: "root".into(), cause, comment: String::new() }
}

#[test]
fn a_start_under_an_unchanged_file_is_no_new_generation() {
    let node = Node::new("same");
    for _ in 0..3 {
        let (drain, _, control) = node.start();
        assert_eq!(
            (drain, control.generation, control.refused, control.state_problem),
            (30, 1, None, None)
        );
    }
    node.write(&node.text(40));
    let (drain, _, control) = node.start();
    assert_eq!((drain, control.generation), (40, 2), "a file that was changed is a decision");
}

#[test]
fn an_end_before_the_confirmation_comes_back_to_what_was_confirmed() {
    let node = Node::new("unconfirmed");
    let (_, _, mut control) = node.start();
    node.write(&node.text(40)); // As somebody does who then runs `tidegate apply --confirm`.
    control.put(&node.checked(40), said("apply"), Counts::Unconfirmed).unwrap();
    assert_eq!((control.generation, control.confirmed), (2, 1));
    drop(control);
    let (drain, _, control) = node.start();
    assert_eq!((drain, control.generation, control.confirmed), (30, 3, 3));
    let undone = control.undone.unwrap();
    assert!(undone.contains("generation 2 was not confirmed"), "{undone}");
    // And it stays so, until the file is touched again or applied.
    assert_eq!(node.start().0, 30);
    node.write(&node.text(50));
    assert_eq!(node.start().0, 50);
}

#[test]
fn a_confirmed_change_and_one_from_another_file_outlive_the_daemon() {
    let node = Node::new("confirmed");
    let (_, _, mut control) = node.start();
    control.put(&node.checked(40), said("apply"), Counts::Unconfirmed).unwrap();
    control.confirm().unwrap();
    let (drain, _, control) = node.start();
    assert_eq!((drain, control.generation, control.before()), (40, 2, Some(1)));
    assert_eq!(control.record(1).unwrap().text, node.text(30));
}

#[test]
fn back_is_to_what_ran_before_and_was_not_undone() {
    let node = Node::new("back");
    let (_, first, mut control) = node.start();
    assert_eq!(control.before(), None);
    control.put(&node.checked(40), said("apply"), Counts::Confirmed).unwrap();
    assert_eq!(control.before(), Some(1));
    control.put(&node.checked(50), said("apply"), Counts::Unconfirmed).unwrap();
    control.put(&node.checked(40), said("undo"), Counts::Confirmed).unwrap();
    assert_eq!(control.before(), Some(1), "3 was undone, 2 is the same");
    control.put(&first, said("rollback"), Counts::Confirmed).unwrap();
    assert_eq!(control.before(), Some(4), "and forth again");
}

#[test]
fn what_the_api_changed_outlives_the_daemon_and_a_change_of_the_file() {
    let node = Node::new("overlay");
    let (_, config, mut control) = node.start();
    let target = Target { kind: Kind::Service, name: "web".into(), backend: None };
    let patch = Edit::Patch(serde_json::json!({ "drain": "7s" }));
    let overlay = config.overlay.edited(&config.text, &target, patch).unwrap();
    let edited = config_file::check(&node.file(), config.text, overlay).unwrap();
    control.put(&edited, said("edit"), Counts::Confirmed).unwrap();
    assert_eq!(node.start().0, 7);
    node.write(&node.text(50));
    let (drain, config, _) = node.start();
    assert_eq!((drain, config.overlay.len()), (7, 1));
}

#[test]
fn a_bad_file_does_not_keep_a_node_down_that_has_run() {
    let node = Node::new("bad");
    node.start();
    for text in ["[router\n", "[router]\n", ""] {
        node.write(&format!("{text}# state-dir is not read from here\n"));
        // The state directory is the file's to name: without it there is nothing to come back to.
        at_start(&node.file()).unwrap_err();
    }
    node.write(&node.text(30).replace("port = 80", "port = 0"));
    let (drain, _, control) = node.start();
    assert_eq!((drain, control.generation), (30, 1));
    assert!(control.refused.unwrap().contains("service.web.port"));
    let first = Node::new("bad-first");
    first.write("[router]\n");
    at_start(&first.file()).unwrap_err();
}

#[test]
fn damaged_state_is_said_and_the_file_is_taken() {
    let node = Node::new("damaged");
    node.start();
    let dirs: Vec<_> = std::fs::read_dir(node.0.join("state")).unwrap().flatten().collect();
    std::fs::write(dirs[0].path().join("state.json"), "{").unwrap();
    let (drain, _, control) = node.start();
    assert_eq!((drain, control.generation), (30, 2), "no number is given twice");
    assert!(control.state_problem.unwrap().contains("damaged"));
    assert_eq!(node.start().2.state_problem, None, "it was written anew");
    // A directory that cannot be written.
    let node = Node::new("unwritable");
    std::fs::write(node.0.join("state"), "").unwrap();
    let (drain, _, mut control) = node.start();
    assert_eq!(drain, 30);
    assert!(control.state_problem.is_some());
    control.put(&node.checked(40), said("edit"), Counts::Confirmed).unwrap_err();
    assert_eq!(control.generation, 1);
}
