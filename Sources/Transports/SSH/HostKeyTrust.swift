import CLibSSH

/// A host's key in the person's known hosts, taken there once the person has confirmed its fingerprint.
///
/// The key is that of the connection whose fingerprint was compared: what another look at the host would show does not
/// count.
public struct HostKeyTrust: Sendable, Hashable {
  /// `ssh-ed25519`.
  public var kind: String
  /// `SHA256:…`
  public var fingerprint: String
  public var knownHostsFile: String
  /// It stood there before, and nothing was changed.
  public var wasKnown: Bool

  /// Asks the host for its key, and takes it in the place of any other that is known of the host.
  ///
  /// - Parameters:
  ///   - alias: What `ssh` would be given.
  ///   - configurationFile: In place of `~/.ssh/config`.
  ///   - name: The host's name in messages.
  ///   - fingerprint: `SHA256:…`, as `ssh-keygen -l` says it at the host.
  /// - Throws: `TransportError`: `hostKeyChanged` where the host shows another key, and nothing is changed then.
  public static func learn(
    alias: String, configurationFile: String? = nil, name: String, fingerprint: String
  ) async throws -> HostKeyTrust {
    let target = SSHTarget(name: name, alias: alias, configurationFile: configurationFile)
    let seen = try await look(target, fingerprint, isToWrite: false)
    if seen.trust.wasKnown { return seen.trust }
    if seen.hasOther {
      let command = "ssh-keygen -R \(shellQuote(seen.entry)) -f \(shellQuote(seen.trust.knownHostsFile)) 2>&1"
      let result = try await LocalTransport().run(command, input: [], limit: 1 << 16, timeout: .seconds(30))
      guard result.status == 0 else {
        throw target.error(
          .configuration,
          "the old key could not be taken out of \(seen.trust.knownHostsFile): \(String(decoding: result.output, as: UTF8.self))"
        )
      }
    }
    return try await look(target, fingerprint, isToWrite: true).trust
  }

  private struct Look: Sendable {
    var trust: HostKeyTrust
    /// The host's name in the known hosts.
    var entry: String
    /// These hold another key of it.
    var hasOther: Bool
  }

  /// Blocks a thread for as long as connecting takes.
  private static func look(_ target: SSHTarget, _ fingerprint: String, isToWrite: Bool) async throws -> Look {
    try await Task.detached {
      guard let session = ssh_new() else { throw target.error(.unreachable, "out of memory") }
      defer {
        ssh_disconnect(session)
        ssh_free(session)
      }
      try SSHSession.configure(session, target)
      guard ssh_connect(session) == SSH_OK else {
        throw target.error(
          .unreachable, "no connection to \(SSHSession.place(session)): \(SSHSession.message(session))")
      }
      let (kind, found) = SSHSession.serverKey(session)
      guard found == fingerprint else {
        throw target.error(
          .hostKeyChanged,
          "\(SSHSession.place(session)) shows the key \(kind) \(found), not \(fingerprint); nothing was changed")
      }
      let file = SSHSession.option(session, SSH_OPTIONS_KNOWNHOSTS) ?? "~/.ssh/known_hosts"
      let state = ssh_session_is_known_server(session)
      if isToWrite {
        guard ssh_session_update_known_hosts(session) == SSH_OK else {
          throw target.error(.configuration, "\(file) cannot be written: \(SSHSession.message(session))")
        }
        guard ssh_session_is_known_server(session) == SSH_KNOWN_HOSTS_OK else {
          throw target.error(
            .configuration,
            "the key stands in \(file) now, but another one of the host is known, too; the system's known hosts may hold it"
          )
        }
      }
      return Look(
        trust: HostKeyTrust(
          kind: kind, fingerprint: found, knownHostsFile: file, wasKnown: !isToWrite && state == SSH_KNOWN_HOSTS_OK),
        entry: SSHSession.knownHostsName(session),
        hasOther: state == SSH_KNOWN_HOSTS_CHANGED || state == SSH_KNOWN_HOSTS_OTHER)
    }.value
  }
}
