public import Transports

extension Manifest {
  /// Asks a host for everything under `<attempt directory>/dumps`: one command lists it, others hash it, several at
  /// once where there is much.
  ///
  /// - Parameter attemptDirectory: Absolute path on the host.
  /// - Throws: `GatheringError` `listing` or `host`.
  public static func take(
    attemptDirectory: String, transport: any Transport, timeout: Duration = .seconds(4 * 3600)
  ) async throws(GatheringError) -> Manifest {
    let listing = try await list(attemptDirectory: attemptDirectory, transport: transport, timeout: timeout)
    let hashes = HostHashes()
    try await hash(
      listing.files, directory: attemptDirectory, transport: transport, timeout: timeout, into: hashes)
    return listing.manifest(hashes: await hashes.known)
  }

  /// Everything under `<attempt directory>/dumps`.
  ///
  /// Nothing is followed: what is not a regular file, or has a name that could do harm, is refused by name. A
  /// `dumps` that is missing, or is no directory, gives no entries and is said in `refused`. Needs GNU findutils and coreutils on the host.
  static func list(
    attemptDirectory: String, transport: any Transport, timeout: Duration = .seconds(4 * 3600)
  ) async throws(GatheringError) -> Listing {
    try checkDirectory(attemptDirectory)
    let command = HostCommand(
      in: attemptDirectory,
      preparing: """
        if [ -L dumps ]; then
          here=other
        elif [ -d dumps ]; then
          cd dumps || exit 42
          sha256sum -z </dev/null >/dev/null 2>&1 && find . -maxdepth 0 -printf '' && xargs -0 -r true </dev/null || exit 41
          here=yes
        elif [ -e dumps ]; then
          here=other
        else
          here=absent
        fi
        """,
      script: """
        if [ $here = yes ]; then
          find . -mindepth 1 \\( -type d ! \\( -readable -executable \\) -printf 'd 0 0 %P\\0' -prune \\) \
        -o \\( ! -type d -printf '%y %s %T@ %P\\0' \\) || exit 43
        else
          printf '%s\\0' $here
        fi
        """)
    let answer = try await run(command, on: transport, directory: attemptDirectory, timeout: timeout)
    return try Listing(answer, directory: attemptDirectory)
  }

  private static func run(
    _ command: HostCommand, input: [UInt8] = [], on transport: any Transport, directory: String, timeout: Duration
  ) async throws(GatheringError) -> ArraySlice<UInt8> {
    let result: CommandResult
    do {
      result = try await transport.run(command.text, input: input, limit: maximumListing, timeout: timeout)
    } catch {
      throw GatheringError(error)
    }
    guard let answer = command.answer(in: result.output) else {
      throw HostCommand.explain(result, directory: directory)
    }
    return answer
  }

  // MARK: Hashing

  /// More than one command hashes above this.
  static let quickBytes = 32 << 20
  private static let hashersAtOnce = 4
  /// A command hashes about so many bytes where there are many; what it says at its end can be fetched then.
  private static let shareBytes = 64 << 20
  private static let sharesAtMost = 256

  /// Adds the SHA-256 of each file that the host can read, and ends `hashes`.
  static func hash(
    _ files: [Listing.File], directory: String, transport: any Transport, timeout: Duration = .seconds(4 * 3600),
    into hashes: HostHashes
  ) async throws(GatheringError) {
    let total = files.reduce(0) { $0 + $1.byteCount }
    var failure: (any Error)?
    do {
      try await withThrowingTaskGroup(of: Void.self) { group in
        for (index, share) in shares(of: files, total: total).enumerated() {
          if index >= hashersAtOnce { try await group.next() }
          group.addTask {
            await hashes.add(
              try await hash(
                share, quickly: total > quickBytes, directory: directory, transport: transport, timeout: timeout))
          }
        }
        try await group.waitForAll()
      }
    } catch {
      failure = error
    }
    await hashes.end()
    if let failure { throw GatheringError(failure) }
  }

  /// In listed order, of about equal bytes.
  private static func shares(of files: [Listing.File], total: Int) -> [ArraySlice<Listing.File>] {
    guard total > quickBytes else { return files.isEmpty ? [] : [files[...]] }
    var shares: [ArraySlice<Listing.File>] = []
    var start = 0
    var bytes = 0
    for (index, file) in files.enumerated() {
      bytes += file.byteCount
      if bytes >= min(max(shareBytes, total / sharesAtMost), total / hashersAtOnce) {
        shares.append(files[start...index])
        start = index + 1
        bytes = 0
      }
    }
    if start < files.count { shares.append(files[start...]) }
    return shares
  }

  /// - Parameter quickly: Worth asking for openssl, which knows the processor's own SHA instructions where
  ///   coreutils mostly does not (0.6 against 2.2 CPU-s a GiB).
  private static func hash(
    _ files: ArraySlice<Listing.File>, quickly: Bool, directory: String, transport: any Transport, timeout: Duration
  ) async throws(GatheringError) -> [String: String] {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    let command = HostCommand(
      in: directory + "/dumps",
      script: quickly
        ? """
        case $(openssl dgst -sha256 -r </dev/null 2>/dev/null) in
        \(empty)*) xargs -0 -r openssl dgst -sha256 -r | tr '\\n' '\\0' ;;
        *) xargs -0 -r sha256sum -z -- ;;
        esac
        """ : "xargs -0 -r sha256sum -z --")
    var input: [UInt8] = []
    for file in files { input += Array("./\(file.path)\0".utf8) }
    let answer = try await run(command, input: input, on: transport, directory: directory, timeout: timeout)
    return try parseHashes(answer, directory: directory)
  }

  /// Reads `sha256 two characters ./path NUL …`.
  static func parseHashes(
    _ answer: ArraySlice<UInt8>, directory: String
  ) throws(GatheringError) -> [String: String] {
    var hashes: [String: String] = [:]
    for record in answer.split(separator: 0) {
      let hash = String(decoding: record.prefix(64), as: UTF8.self)
      guard isSHA256(hash), record.dropFirst(66).starts(with: "./".utf8) else {
        throw Listing.broken(record, directory: directory)
      }
      hashes[String(decoding: record.dropFirst(68), as: UTF8.self)] = hash
    }
    return hashes
  }

  static func checkDirectory(_ directory: String) throws(GatheringError) {
    guard directory.hasPrefix("/"), !directory.utf8.contains(0) else {
      throw GatheringError(code: .badName, path: directory, message: "an attempt's directory must be an absolute path")
    }
  }

  /// 512 MiB: about two million files.
  private static var maximumListing: Int { 512 << 20 }

  static func isSHA256(_ text: String) -> Bool {
    text.utf8.count == 64
      && text.utf8.allSatisfy {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
      }
  }
}
