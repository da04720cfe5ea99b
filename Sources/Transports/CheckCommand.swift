/// Linux takes 128 KiB in one argument; some of it is ours.
private let commandLimit = 96 << 10

/// Refuses what no host could run as written.
func checkCommand(_ command: String, host: String) throws {
  guard command.utf8.count <= commandLimit else {
    throw TransportError(
      code: .configuration, host: host,
      message: "a command of \(command.utf8.count) bytes is above the \(commandLimit) that a host takes for sure")
  }
  guard !command.utf8.contains(0) else {
    throw TransportError(code: .configuration, host: host, message: "a command cannot hold a NUL byte")
  }
}
