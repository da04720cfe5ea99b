/// Placeholder until the ledger lands.
enum Placeholder {}
