import ArgumentParser
import Foundation
import Planning
import Transports

struct HostsTrustCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "trust",
    abstract: "Take a host's key into the known hosts, in the place of another one.",
    discussion: """
      The fingerprint is the owner's word for it: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub at the host. Where the \
      host shows another key, nothing is changed. A sweep that waits for the host goes on within five minutes.

      Example: rollcall hosts trust gpu3 --fingerprint SHA256:…
      """)

  @Argument(help: "The host's name in the fleet file.")
  var host: String

  @Option(name: .long, help: "What its key must be: SHA256:… .")
  var fingerprint: String

  @Flag(name: .long, help: "Print one JSON document on standard output.")
  var json = false
  @OptionGroup var fleet: FleetOptions

  var wantsJSON: Bool { json }

  /// `rollcall.trust/1`.
  private struct Answer: Encodable {
    var schema = "rollcall.trust/1"
    var host: String
    var kind: String
    var fingerprint: String
    var file: String
    /// It stood there before.
    var known: Bool
  }

  func run() async throws {
    guard fingerprint.hasPrefix("SHA256:"), fingerprint.count > 40 else {
      throw UsageError(
        message:
          "--fingerprint must be SHA256: and 43 characters, as ssh-keygen -l prints it, not \(shown(fingerprint))")
    }
    guard case .ssh(let alias) = try fleet.host(named: host).address else {
      throw UsageError(message: "\(host) is this machine, which is not asked for a key")
    }
    let trust = try await HostKeyTrust.learn(
      alias: alias, configurationFile: fleet.read().sshConfig, name: host, fingerprint: fingerprint)
    let answer = Answer(
      host: host, kind: trust.kind, fingerprint: trust.fingerprint, file: trust.knownHostsFile, known: trust.wasKnown)
    let key = "the key of \(host), \(trust.kind) \(trust.fingerprint)"
    Console.print(
      json
        ? try JSONOutput.text(answer)
        : trust.wasKnown ? "\(key), stood in \(trust.knownHostsFile)" : "\(key), stands in \(trust.knownHostsFile) now")
  }
}
