public import Transports

extension Manifest {
  /// Asks a host for everything under `<attempt directory>/dumps`, in one command.
  ///
  /// Nothing is followed: what is not a regular file, or has a name that could do harm, is refused by name. A
  /// missing `dumps` gives no entries and is said in `refused`. Needs GNU findutils and coreutils on the host.
  /// - Parameter attemptDirectory: Absolute path on the host.
  /// - Throws: `GatheringError` `listing` or `host`.
  public static func take(
    attemptDirectory: String, transport: any Transport, timeout: Duration = .seconds(4 * 3600)
  ) async throws(GatheringError) -> Manifest {
    try checkDirectory(attemptDirectory)
    let command = HostCommand(
      in: attemptDirectory,
      preparing: """
        [ ! -L dumps ] || exit 42
        if [ -e dumps ]; then
          [ -d dumps ] && cd dumps || exit 42
          sha256sum -z </dev/null >/dev/null 2>&1 && find . -maxdepth 0 -printf '' && xargs -0 -r true </dev/null || exit 41
          here=yes
        else
          here=no
        fi
        """,
      script: """
        if [ $here = yes ]; then
          find . -mindepth 1 \\( -type d ! \\( -readable -executable \\) -printf 'd 0 0 %P\\0' -prune \\) \
        -o \\( ! -type d -printf '%y %s %T@ %P\\0' \\) || exit 43
          printf '\\0'
          find . -type f -print0 | xargs -0 -r sha256sum -z --
        else
          printf 'absent\\0'
        fi
        """)
    let result: CommandResult
    do {
      result = try await transport.run(command.text, input: [], limit: maximumListing, timeout: timeout)
    } catch {
      throw GatheringError(error)
    }
    guard let answer = command.answer(in: result.output) else {
      throw HostCommand.explain(result, directory: attemptDirectory)
    }
    return try parse(answer, directory: attemptDirectory)
  }

  static func checkDirectory(_ directory: String) throws(GatheringError) {
    guard directory.hasPrefix("/"), !directory.utf8.contains(0) else {
      throw GatheringError(code: .badName, path: directory, message: "an attempt's directory must be an absolute path")
    }
  }

  /// 512 MiB: about two million files.
  private static var maximumListing: Int { 512 << 20 }

  /// Reads `type size mtime path NUL …, NUL, sha256 two characters ./path NUL …`.
  static func parse(_ answer: ArraySlice<UInt8>, directory: String) throws(GatheringError) -> Manifest {
    if answer.elementsEqual("absent\0".utf8) {
      return Manifest(entries: [], refused: ["dumps: no such directory"])
    }
    func broken(_ record: ArraySlice<UInt8>) -> GatheringError {
      let text = printable(String(decoding: record.prefix(200), as: UTF8.self))
      return GatheringError(
        code: .listing, path: directory, message: "the host's list of files cannot be understood at `\(text)`")
    }
    guard answer.last == 0 else { throw broken(answer.suffix(80)) }
    let records = answer.dropLast().split(separator: 0, omittingEmptySubsequences: false)
    guard let middle = records.firstIndex(where: \.isEmpty) else { throw broken(answer.suffix(80)) }

    // Names are compared as bytes: Swift's strings hold differently composed letters for equal.
    var hashes: [ArraySlice<UInt8>: String] = [:]
    for record in records[(middle + 1)...] where !record.isEmpty {
      let hash = String(decoding: record.prefix(64), as: UTF8.self)
      let path = record.dropFirst(66)
      guard isSHA256(hash), path.starts(with: "./".utf8) else { throw broken(record) }
      hashes[path.dropFirst(2)] = hash
    }

    var manifest = Manifest(entries: [], refused: [])
    var names: Set<String> = []
    var total = 0
    for record in records[..<middle] {
      let fields = record.split(separator: UInt8(ascii: " "), maxSplits: 3, omittingEmptySubsequences: false)
      guard fields.count == 4, let type = fields[0].first, fields[0].count == 1,
        let byteCount = Int(String(decoding: fields[1], as: UTF8.self)), byteCount >= 0
      else { throw broken(record) }
      let shown = printable(String(decoding: fields[3], as: UTF8.self))
      guard let path = String(validating: fields[3], as: UTF8.self) else {
        manifest.refused.append("\(shown): name is not UTF-8")
        continue
      }
      if let why = DumpName.refusal(of: path) ?? refusal(ofType: type) {
        manifest.refused.append("\(shown): \(why)")
      } else if !names.insert(path).inserted {
        manifest.refused.append("\(shown): another file's name differs from it only in how its letters are composed")
      } else if let hash = hashes[fields[3]] {
        // Once their sum is known to fit, later sums need no check.
        let (sum, overflow) = total.addingReportingOverflow(byteCount)
        guard let modified = nanoseconds(fields[2]), !overflow else { throw broken(record) }
        total = sum
        manifest.entries.append(
          ManifestEntry(
            path: path, byteCount: byteCount, modified: modified, sha256: hash, rank: DumpName.rank(of: path)))
      } else {
        manifest.refused.append("\(shown): could not be read on the host (no permission, or gone while listing)")
      }
    }
    manifest.entries.sort { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
    manifest.refused.sort()
    return manifest
  }

  private static func refusal(ofType type: UInt8) -> String? {
    switch type {
    case UInt8(ascii: "f"): nil
    case UInt8(ascii: "l"): "symbolic link"
    case UInt8(ascii: "p"): "named pipe"
    case UInt8(ascii: "s"): "socket"
    case UInt8(ascii: "c"), UInt8(ascii: "b"): "device"
    case UInt8(ascii: "d"): "directory that cannot be read; its files are not gathered"
    default: "not a regular file"
    }
  }

  /// `1690000000.1234567890`, as find's `%T@` prints it.
  private static func nanoseconds(_ text: ArraySlice<UInt8>) -> Int64? {
    let parts = text.split(separator: UInt8(ascii: "."), maxSplits: 1, omittingEmptySubsequences: false)
    guard let whole = parts.first, let seconds = Int64(String(decoding: whole, as: UTF8.self)) else { return nil }
    var fraction: Int64 = 0
    if parts.count == 2 {
      let digits = String(decoding: parts[1].prefix(9), as: UTF8.self)
      guard let value = Int64(digits), value >= 0 else { return nil }
      fraction = (digits.utf8.count..<9).reduce(value) { value, _ in value * 10 }
    }
    let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    let (sum, carried) =
      whole.first == UInt8(ascii: "-")
      ? product.subtractingReportingOverflow(fraction) : product.addingReportingOverflow(fraction)
    return overflow || carried ? nil : sum
  }

  static func isSHA256(_ text: String) -> Bool {
    text.utf8.count == 64
      && text.utf8.allSatisfy {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
      }
  }
}
