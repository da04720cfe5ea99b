import ArgumentParser
import Glibc
import Launching

/// What leads the plain runs of a coordinator on its own machine: started by it, and by nobody else.
struct SuperviseCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "supervise", abstract: "Lead the runs of one work directory on this machine.", shouldDisplay: false)

  @Argument var workdir: String

  func run() throws { throw ExitCode(Supervisor.serve(workdir: workdir)) }

  /// This program as it stands, even where another one has taken its place on the disk.
  static let program = ["/proc/\(getpid())/exe", configuration.commandName ?? ""]
}
