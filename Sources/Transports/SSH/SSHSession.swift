import CLibSSH
import Glibc

/// How to reach one host: an alias and where its meaning is written.
struct SSHTarget: Sendable {
  /// The host's name in messages.
  var name: String
  /// What `ssh` would be given.
  var alias: String
  /// nil: `~/.ssh/config` and the system's file.
  var configurationFile: String?

  /// An `ssh` command for the person to type.
  var command: String {
    let file = configurationFile.map { "-F \(shellQuote($0)) " } ?? ""
    return "ssh \(file)\(shellQuote(alias))"
  }

  /// What takes a confirmed key into the known hosts.
  func trusting(_ fingerprint: String) -> String {
    "rollcall hosts trust \(shellQuote(name)) --fingerprint \(fingerprint)"
  }

  func error(_ code: TransportError.Code, _ message: String) -> TransportError {
    TransportError(code: code, host: name, message: message)
  }
}

private let quickCiphers = """
  aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr
  """

/// libssh 0.10's own methods with the NIST curve before Curve25519, for which OpenSSH has no quick code: a connection costs
/// sshd a sixth less. Later versions of libssh know methods that withstand quantum computers, and keep their own order.
private let quickKeyExchange =
  ssh_version(11 << 8) == nil
  ? """
  ecdh-sha2-nistp256,curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp384,ecdh-sha2-nistp521,\
  diffie-hellman-group18-sha512,diffie-hellman-group16-sha512,diffie-hellman-group-exchange-sha256,\
  diffie-hellman-group14-sha256
  """ : nil

/// The host took the connection and closed it before it said a word: sshd does so when too many wait to log in.
struct TurnedAway: Error {
  var error: TransportError
}

/// An authenticated session. Belongs to the thread that made it.
final class SSHSession {
  let raw: ssh_session
  private let event: ssh_event
  private let wakeDescriptor: Int32
  /// The quickest answer so far, the host's own work included.
  private var roundTrip = Duration.seconds(1)

  /// Connects, checks the host key, authenticates; blocks for at most some multiples of ConnectTimeout.
  ///
  /// - Parameter wakeDescriptor: An eventfd that ends `wait`.
  /// - Throws: `TurnedAway`, or a `TransportError`.
  init(_ target: SSHTarget, wakeDescriptor: Int32) throws {
    guard let session = ssh_new() else { throw target.error(.unreachable, "out of memory") }
    do {
      try Self.configure(session, target)
      guard ssh_connect(session) == SSH_OK else {
        let error = target.error(
          .unreachable,
          "no connection to \(Self.place(session)): \(Self.message(session)). Try: \(target.command) true")
        // A port where nobody listens says "refused", a silent one "timeout".
        if ssh_get_serverbanner(session) == nil, Self.message(session).hasPrefix("Socket error") {
          throw TurnedAway(error: error)
        }
        throw error
      }
      // libssh leaves it open for the programs that we start.
      _ = fcntl(ssh_get_fd(session), F_SETFD, FD_CLOEXEC)
      Self.keepAlive(ssh_get_fd(session))
      try Self.checkHostKey(session, target)
      try Self.authenticate(session, target)
    } catch {
      ssh_disconnect(session)
      ssh_free(session)
      throw error
    }
    ssh_set_blocking(session, 0)
    guard let event = ssh_event_new() else {
      ssh_free(session)
      throw target.error(.unreachable, "out of memory")
    }
    raw = session
    self.event = event
    self.wakeDescriptor = wakeDescriptor
    ssh_event_add_session(event, session)
    ssh_event_add_fd(
      event, wakeDescriptor, Int16(POLLIN),
      { descriptor, _, _ in
        var count: UInt64 = 0
        read(descriptor, &count, 8)
        return 0
      }, nil)
  }

  deinit {
    ssh_event_remove_fd(event, wakeDescriptor)
    ssh_event_remove_session(event, raw)
    ssh_event_free(event)
    ssh_disconnect(raw)
    ssh_free(raw)
  }

  /// False once the connection broke.
  var isAlive: Bool {
    ssh_is_connected(raw) != 0 && ssh_get_status(raw) & (SSH_CLOSED | SSH_CLOSED_ERROR) == 0
  }

  /// How the session's keys were agreed upon.
  var keyExchange: String { ssh_get_kex_algo(raw).map { String(cString: $0) } ?? "none" }

  /// libssh's last word.
  var message: String { Self.message(raw) }

  func noteRoundTrip(_ duration: Duration) { roundTrip = min(roundTrip, duration) }

  var streamWindow: Int { Self.streamWindow(roundTrip: roundTrip) }

  /// What a stream needs at 640 MiB a second, half of it being on its way at least.
  static func streamWindow(roundTrip: Duration) -> Int {
    let limits = SSHTransport.streamWindow
    return max(limits.least, min(limits.most, Int(roundTrip / .milliseconds(1) * 1.25 * Double(1 << 20))))
  }

  /// Handles what arrives; returns when there is no more for now, after a wake-up, or after `milliseconds` (-1: never).
  /// - Returns: False where the connection broke.
  func wait(milliseconds: Int32) -> Bool {
    var outcome = ssh_event_dopoll(event, milliseconds)
    // Each call takes 4 KiB at most.
    var turns = 1
    while outcome == SSH_OK, turns < 64 {
      outcome = ssh_event_dopoll(event, 0)
      turns += 1
    }
    return outcome != SSH_ERROR && isAlive
  }

  // MARK: - Connecting

  static func configure(_ session: ssh_session, _ target: SSHTarget) throws {
    var yes: Int32 = 1
    var no: Int32 = 0
    var seconds: Int = 15
    guard !target.alias.isEmpty, !target.alias.hasPrefix("-"),
      ssh_options_set(session, SSH_OPTIONS_HOST, target.alias) == 0
    else { throw target.error(.configuration, "\"\(target.alias)\" is not a host name or ssh alias") }
    ssh_options_set(session, SSH_OPTIONS_TIMEOUT, &seconds)
    ssh_options_set(session, SSH_OPTIONS_NODELAY, &yes)
    // The quickest where both processors know AES, before libssh's own order; the user's `Ciphers` overrides it.
    for direction in [SSH_OPTIONS_CIPHERS_C_S, SSH_OPTIONS_CIPHERS_S_C] {
      ssh_options_set(session, direction, quickCiphers)
    }
    // A quicker key exchange, too; the user's `KexAlgorithms` overrides it.
    if let methods = quickKeyExchange { ssh_options_set(session, SSH_OPTIONS_KEY_EXCHANGE, methods) }
    // The agent of the environment, for which libssh would wait without end; the user's `IdentityAgent` overrides it.
    if SSHAgent.isSilent { ssh_options_set(session, SSH_OPTIONS_IDENTITY_AGENT, "/dev/null") }
    if let file = target.configurationFile {
      guard access(file, R_OK) == 0 else {
        throw target.error(
          .configuration, "the ssh configuration \(file) cannot be read: \(String(cString: strerror(errno)))")
      }
    }
    guard ssh_options_parse_config(session, target.configurationFile) == 0 else {
      throw target.error(
        .configuration, "the ssh configuration \(target.configurationFile ?? "~/.ssh/config"): \(message(session))")
    }
    ssh_options_set(session, SSH_OPTIONS_PROCESS_CONFIG, &no)
    // Whatever the file says: a host key that is not known is refused.
    ssh_options_set(session, SSH_OPTIONS_STRICTHOSTKEYCHECK, &yes)
  }

  private static func checkHostKey(_ session: ssh_session, _ target: SSHTarget) throws {
    let state = ssh_session_is_known_server(session)
    if state == SSH_KNOWN_HOSTS_OK { return }
    let (kind, fingerprint) = serverKey(session)
    let file = option(session, SSH_OPTIONS_KNOWNHOSTS) ?? "~/.ssh/known_hosts"
    switch state {
    case SSH_KNOWN_HOSTS_CHANGED, SSH_KNOWN_HOSTS_OTHER:
      throw target.error(
        .hostKeyChanged,
        """
        \(place(session)) shows another host key than \(file) holds: \(kind) \(fingerprint). Either the host was set up \
        anew, or somebody stands in between. If its owner confirms this fingerprint: \(target.trusting(fingerprint))
        """)
    case SSH_KNOWN_HOSTS_UNKNOWN, SSH_KNOWN_HOSTS_NOT_FOUND:
      throw target.error(
        .hostKeyUnknown,
        """
        the host key of \(place(session)) is not in \(file): \(kind) \(fingerprint). If this is the host's fingerprint: \
        \(target.trusting(fingerprint)), or log in once by hand: \(target.command)
        """)
    default:
      throw target.error(.configuration, "the known hosts in \(file) cannot be used: \(message(session))")
    }
  }

  private static func authenticate(_ session: ssh_session, _ target: SSHTarget) throws {
    // Asking for nothing tells what the host accepts, and some hosts (Tailscale's) want no more.
    if ssh_userauth_none(session, nil) == SSH_AUTH_SUCCESS.rawValue { return }
    if ssh_userauth_publickey_auto(session, nil, nil) == SSH_AUTH_SUCCESS.rawValue { return }
    let problem = message(session)
    guard ssh_is_connected(session) != 0 else {
      throw target.error(
        .authenticationFailed, "\(place(session)) closed the connection while our keys were tried: \(problem)")
    }
    let methods = ssh_userauth_list(session, nil)
    let names = [
      (SSH_AUTH_METHOD_PUBLICKEY, "publickey"), (SSH_AUTH_METHOD_PASSWORD, "password"),
      (SSH_AUTH_METHOD_INTERACTIVE, "keyboard-interactive"), (SSH_AUTH_METHOD_GSSAPI_MIC, "gssapi"),
    ].filter { methods & Int32($0.0) != 0 }.map(\.1)
    let user = option(session, SSH_OPTIONS_USER) ?? "?"
    let identity = option(session, SSH_OPTIONS_IDENTITY) ?? "none"
    throw target.error(
      .authenticationFailed,
      """
      \(place(session)) accepted no key of ours for user \(user) (first key file: \(identity); the host takes: \
      \(names.isEmpty ? "nothing" : names.joined(separator: ", "))). Rollcall uses the agent and key files without \
      passphrase and never asks. Make this work: \(target.command) -o BatchMode=yes true
      """)
  }

  // MARK: - Words for messages

  static func message(_ session: ssh_session) -> String {
    guard let text = ssh_get_error(UnsafeMutableRawPointer(session)) else { return "no reason given" }
    let message = String(cString: text)
    return message.isEmpty ? "no reason given" : message
  }

  static func option(_ session: ssh_session, _ option: ssh_options_e) -> String? {
    var value: UnsafeMutablePointer<CChar>?
    guard ssh_options_get(session, option, &value) == SSH_OK, let value else { return nil }
    defer { ssh_string_free_char(value) }
    return String(cString: value)
  }

  private static func address(_ session: ssh_session) -> (host: String, port: UInt32) {
    var port: UInt32 = 22
    ssh_options_get_port(session, &port)
    return (option(session, SSH_OPTIONS_HOST) ?? "?", port)
  }

  static func place(_ session: ssh_session) -> String {
    let (host, port) = address(session)
    return "\(host) port \(port)"
  }

  /// The host as known hosts spell it.
  static func knownHostsName(_ session: ssh_session) -> String {
    let (host, port) = address(session)
    return port == 22 ? host : "[\(host)]:\(port)"
  }

  static func serverKey(_ session: ssh_session) -> (kind: String, fingerprint: String) {
    var key: ssh_key?
    guard ssh_get_server_publickey(session, &key) == SSH_OK, let key else { return ("key", "without fingerprint") }
    defer { ssh_key_free(key) }
    let kind = ssh_key_type_to_char(ssh_key_type(key)).map { String(cString: $0) } ?? "key"
    var hash: UnsafeMutablePointer<UInt8>?
    var count = 0
    guard ssh_get_publickey_hash(key, SSH_PUBLICKEY_HASH_SHA256, &hash, &count) == 0, let hash else {
      return (kind, "without fingerprint")
    }
    var holder: UnsafeMutablePointer<UInt8>? = hash
    defer { ssh_clean_pubkey_hash(&holder) }
    guard let text = ssh_get_fingerprint_hash(SSH_PUBLICKEY_HASH_SHA256, hash, count) else {
      return (kind, "without fingerprint")
    }
    defer { ssh_string_free_char(text) }
    return (kind, String(cString: text))
  }

  /// A peer that vanished is noticed after a minute, also while we only wait.
  private static func keepAlive(_ descriptor: Int32) {
    func set(_ level: Int32, _ name: Int32, _ value: Int32) {
      var value = value
      setsockopt(descriptor, level, name, &value, socklen_t(MemoryLayout<Int32>.size))
    }
    set(SOL_SOCKET, SO_KEEPALIVE, 1)
    set(Int32(IPPROTO_TCP), TCP_KEEPIDLE, 30)
    set(Int32(IPPROTO_TCP), TCP_KEEPINTVL, 10)
    set(Int32(IPPROTO_TCP), TCP_KEEPCNT, 3)
    set(Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, 60_000)
  }
}
