import ArgumentParser
import Foundation
import Ledger
import Planning

struct HostsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "hosts",
    abstract: "Check the hosts of the fleet; drain one, let it take runs again, or trust its key.",
    discussion: """
      Examples: rollcall hosts --fleet fleet.yaml
                rollcall hosts drain gpu3 --why "fan is broken"
                rollcall hosts resume gpu3
                rollcall hosts trust gpu3 --fingerprint SHA256:…
      """,
    subcommands: [
      HostsCheckCommand.self, HostsDrainCommand.self, HostsResumeCommand.self, HostsTrustCommand.self,
    ],
    defaultSubcommand: HostsCheckCommand.self)
}

struct HostsDrainCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "drain",
    abstract: "Keep new runs from a host; what runs there goes on to its end.",
    discussion: "Example: rollcall hosts drain gpu3 --why \"fan is broken\"")

  @Argument(help: "The host's name in the fleet file.")
  var host: String

  @Option(name: .long, help: "The reason, for those who ask why a run waits.")
  var why: String?

  @OptionGroup var store: StoreOptions
  @OptionGroup var fleet: FleetOptions

  var wantsJSON: Bool { store.json }

  func run() async throws {
    _ = try fleet.host(named: host)
    try DrainList(store: store.directory).drain(host, why: why.map(shown), now: Date().timeIntervalSince1970)
    try DrainAnswer(host: host, isDrained: true).show(json: store.json, "\(host) takes no new runs.")
  }
}

struct HostsResumeCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "resume",
    abstract: "Let a drained host take runs again.",
    discussion: "Example: rollcall hosts resume gpu3")

  @Argument(help: "The host's name in the fleet file.")
  var host: String

  @OptionGroup var store: StoreOptions
  @OptionGroup var fleet: FleetOptions

  var wantsJSON: Bool { store.json }

  func run() async throws {
    let wasDrained = try DrainList(store: store.directory).resume(host)
    if !wasDrained { _ = try fleet.host(named: host) }
    try DrainAnswer(host: host, isDrained: false).show(
      json: store.json, wasDrained ? "\(host) takes runs again." : "\(host) was not drained.")
  }
}

/// `rollcall.drain/1`.
private struct DrainAnswer: Encodable {
  var schema = "rollcall.drain/1"
  var host: String
  var isDrained: Bool

  enum CodingKeys: String, CodingKey {
    case schema
    case host
    case isDrained = "drained"
  }

  func show(json: Bool, _ sentence: String) throws {
    Console.print(json ? try JSONOutput.text(self) : sentence)
  }
}

/// JSON documents on standard output.
enum JSONOutput {
  static func text(_ document: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(document), as: UTF8.self)
  }
}

/// Words of hosts and of users as a terminal may show them: without control characters, on one line.
func shown(_ text: String) -> String {
  let kept = text.unicodeScalars.map { scalar -> Unicode.Scalar in
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse: " "
    default: scalar
    }
  }
  return String(String(String.UnicodeScalarView(kept)).prefix(500))
}
