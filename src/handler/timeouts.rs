/// A timeout that was scheduled, to cancel it by.
#[derive(Clone, Debug)]
pub struct Timeout(());
