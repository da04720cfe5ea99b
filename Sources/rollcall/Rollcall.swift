import ArgumentParser
import Foundation
import Glibc

/// The command line. One file a verb; every verb composes the library and prints.
@main
struct Rollcall: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rollcall",
    abstract: "Says whether an LLM engine's output is wrong, since when, at which world size, in which layer, and why.",
    discussion: """
      Exit codes: 0 PASS, 1 FAIL, 2 INCONCLUSIVE, 3 a run failed, 64 usage, 65 unreadable input, 69 a host or \
      service is unavailable, 70 our own fault, 130 detached by Ctrl-C.

      Example: rollcall run Jobs/tp-sweep.yaml
      """,
    version: "0.1.0",
    subcommands: [SuperviseCommand.self],
    groupedSubcommands: [
      CommandGroup(
        name: "Sweep",
        subcommands: [
          RunCommand.self, PlanCommand.self, StatusCommand.self, LogsCommand.self, ResumeCommand.self,
          CancelCommand.self, RetryCommand.self, ExplainCommand.self, ReportCommand.self, PlaybookCommand.self,
        ]),
      CommandGroup(
        name: "Dump",
        subcommands: [
          CompareCommand.self, SlotsCommand.self, SchemaCommand.self, InspectCommand.self, UnshardCommand.self,
        ]),
      CommandGroup(name: "Host", subcommands: [HostsCommand.self]),
      CommandGroup(
        name: "Service",
        subcommands: [
          ServeCommand.self, ScheduleCommand.self, HistoryCommand.self, GoldenCommand.self, PruneCommand.self,
          BackupCommand.self, RestoreCommand.self,
        ]),
    ])

  /// Verbs that take milliseconds: what describes all the others would be a tenth of that.
  private static let quick: [any ParsableCommand.Type] = [
    CompareCommand.self, SlotsCommand.self, SchemaCommand.self, InspectCommand.self,
  ]

  private static func parsed() throws -> any ParsableCommand {
    let arguments = Array(CommandLine.arguments.dropFirst())
    if let verb = quick.first(where: { $0.configuration.commandName == arguments.first }),
      let command = try? verb.parse(Array(arguments.dropFirst()))
    {
      return command
    }
    // Help and errors name the whole command line.
    return try parseAsRoot()
  }

  /// A service or a container may leave it unset: the work directory on this machine, and what the runs read, lie below
  /// it. Then it is what the user's entry in the password file says.
  private static func completeHome() {
    guard (ProcessInfo.processInfo.environment["HOME"] ?? "").isEmpty, let entry = getpwuid(geteuid()) else { return }
    setenv("HOME", entry.pointee.pw_dir, 1)
  }

  /// What is opened first takes the place of a standard stream that was closed, and would be printed into. One that
  /// cannot be used takes it.
  private static func fillStandardStreams() {
    for (descriptor, mode) in [(STDIN_FILENO, O_WRONLY), (STDOUT_FILENO, O_RDONLY), (STDERR_FILENO, O_RDONLY)]
    where fcntl(descriptor, F_GETFD) < 0 { _ = open("/dev/null", mode) }
  }

  static func main() async {
    fillStandardStreams()
    completeHome()
    OpenFiles.allow()
    do {
      var command = try parsed()
      do {
        if var command = command as? any AsyncParsableCommand {
          try await command.run()
        } else {
          try command.run()
        }
        try Console.checkOutput()
      } catch {
        Failure.exit(error, command: type(of: command), json: (command as? any HasJSONOutput)?.wantsJSON ?? false)
      }
    } catch {
      Failure.exitOfParser(error, command: self, json: CommandLine.arguments.contains("--json"))
    }
  }
}

/// A command that can print one JSON document; its errors are then one, too.
protocol HasJSONOutput {
  var wantsJSON: Bool { get }
}
