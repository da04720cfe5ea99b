import HTTPTypes

/// Who may read and who may act. A function of the request's head alone; forms are checked by `form(_:)`.
struct Access: Sendable {
  /// nil: everybody who reaches the address, which then is of loopback.
  var token: AccessToken?
  /// Only programs of this machine reach the address.
  var isLoopback: Bool
  /// Names that a proxy in front of a loopback address may send as `Host`.
  var hosts: Set<String>
  var sessions = Sessions()
  var cookieName = "rollcall"

  enum Refusal: Error, Equatable {
    /// 403: the `Host` is not ours: a page of another site has bent its own name to this address.
    case foreignHost
    /// 401
    case noToken
    /// 403: a form that another site has sent, or whose session has ended.
    case foreignForm
  }

  /// The session that the request belongs to; nil: none, or its bearer is known by the token.
  func session(_ question: Question, now: Double) -> String? {
    question.cookie(cookieName).flatMap { sessions.isValid($0, now: now) ? $0 : nil }
  }

  func checkHost(_ question: Question) throws(Refusal) {
    guard isLoopback else { return }
    var name = question.authority.lowercased()
    if let end = name.lastIndex(of: "]"), name.hasPrefix("[") {
      name = String(name[name.index(after: name.startIndex)..<end])
    } else if let colon = name.lastIndex(of: ":") {
      name = String(name[..<colon])
    }
    guard ListenAddress.isLoopback(name) || hosts.contains(name) else { throw .foreignHost }
  }

  func checkReader(_ question: Question, now: Double) throws(Refusal) {
    guard let token else { return }
    if hasBearer(question, token) || session(question, now: now) != nil { return }
    throw .noToken
  }

  private func hasBearer(_ question: Question, _ token: AccessToken) -> Bool {
    guard let header = question.headers[.authorization] else { return false }
    let words = header.split(separator: " ", maxSplits: 1)
    return words.count == 2 && words[0].lowercased() == "bearer" && token.matches(String(words[1]))
  }

  /// A posted form comes from a page of ours.
  func checkOrigin(_ question: Question) throws(Refusal) {
    if let site = question.headers[.secFetchSite], site != "same-origin", site != "none" { throw .foreignForm }
    if let origin = question.headers[.origin] {
      let authority = question.authority.lowercased()
      guard ["http://\(authority)", "https://\(authority)"].contains(origin.lowercased()) else { throw .foreignForm }
    }
  }

  /// A posted form comes from a page of ours that this session has seen. Who shows the token in a header needs none: no
  /// browser sends it by itself.
  func checkForm(_ question: Question, now: Double) throws(Refusal) {
    try checkOrigin(question)
    if let token, hasBearer(question, token) { return }
    guard let session = session(question, now: now), let sent = question.form["form"],
      sessions.isFormToken(sent, of: session)
    else { throw .foreignForm }
  }
}

extension HTTPField.Name {
  static var secFetchSite: Self? { HTTPField.Name("Sec-Fetch-Site") }
}

extension HTTPFields {
  subscript(name: HTTPField.Name?) -> String? { name.flatMap { self[$0] } }
}
