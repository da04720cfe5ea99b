import ArgumentParser
import Coordination
import Foundation
import Launching
import Planning
import Transports

struct HostsCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "hosts",
    abstract: "Ask every host of the fleet who it is: reachability, host key, GPUs, free disk, clock.",
    discussion: "Example: rollcall hosts --fleet fleet.yaml")

  @OptionGroup var fleet: FleetOptions

  @Flag(name: .long, help: "Print one JSON document on standard output.")
  var json = false

  var wantsJSON: Bool { json }

  private struct Answer: Encodable {
    var name: String
    var reachable: Bool
    var trouble: String?
    var facts: HostFacts?
  }

  private struct Document: Encodable {
    var schema = "rollcall.hosts/1"
    var hosts: [Answer]
  }

  func run() async throws {
    let connections = HostConnection.connections(for: try fleet.read())
    let answers = await withTaskGroup(of: (Int, Answer).self) { group in
      for (index, connection) in connections.enumerated() {
        group.addTask { (index, await Self.ask(connection)) }
      }
      var answers: [(Int, Answer)] = []
      for await answer in group { answers.append(answer) }
      return answers.sorted { $0.0 < $1.0 }.map(\.1)
    }
    if json {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
      Console.print(String(decoding: try encoder.encode(Document(hosts: answers)), as: UTF8.self))
    } else {
      let rows = answers.map { answer -> [String] in
        guard let facts = answer.facts else { return [answer.name, "NO", "-", "-", "-", "-", answer.trouble ?? ""] }
        let gpus = facts.gpuNames.isEmpty ? "0" : "\(facts.gpuIDs.count) × \(facts.gpuNames[0])"
        return [
          answer.name, "yes", String(facts.cpuCount), gpus, "\(facts.freeDiskBytes >> 30) GiB",
          String(format: "%+.1f s", facts.clockOffset), facts.workdir,
        ]
      }
      Console.print(StatusTable.table([["HOST", "OK", "CPUS", "GPUS", "FREE", "CLOCK", "WORKDIR OR TROUBLE"]] + rows))
    }
    if answers.contains(where: { !$0.reachable }) { throw ExitCode(Failure.unavailable) }
  }

  private static func ask(_ connection: HostConnection) async -> Answer {
    do {
      let facts = try await connection.launcher.enrol()
      await connection.transport.close()
      return Answer(name: connection.host.name, reachable: true, facts: facts)
    } catch {
      await connection.transport.close()
      return Answer(name: connection.host.name, reachable: false, trouble: "\(error)")
    }
  }
}
