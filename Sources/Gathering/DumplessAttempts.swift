import Glibc
public import Transports

extension Gatherer {
  /// Gathers those of many attempts of one host that left no dumps and only short logs: in one command, and with one
  /// wait for the disk.
  ///
  /// - Parameters:
  ///   - parent: Absolute path on the host of the directory that holds the attempts' directories.
  ///   - attempts: Attempt → its run, which names a directory of the sweep.
  /// - Returns: Manifests without entries, by attempt. What is not among them is to be gathered by itself.
  /// - Throws: `GatheringError`; no run of these has a manifest in the store then, or a whole one.
  public func gatherDumpless(
    parent: String, attempts: [String: String], transport: any Transport, store: ArtifactStore, sweep: String
  ) async throws(GatheringError) -> [String: Manifest] {
    try Manifest.checkDirectory(parent)
    // Words of the script.
    let attempts = attempts.filter { Self.isWord($0.key) }
    guard !attempts.isEmpty else { return [:] }
    for (attempt, run) in attempts { _ = try store.attemptDirectory(sweep: sweep, run: run, attempt: attempt) }
    let found: [String: [Log]]
    if transport is LocalTransport {
      found = Self.local(parent: parent, attempts.keys)
    } else {
      found = try await Self.ask(transport, parent: parent, attempts.keys)
    }
    guard !found.isEmpty else { return [:] }
    var manifests: [String: Manifest] = [:]
    var records: [DumplessRun] = []
    for (attempt, logs) in found {
      guard let run = attempts[attempt] else { continue }
      let files = logs.map {
        AttemptFiles.File(name: $0.name, hostByteCount: $0.bytes.count, keptByteCount: $0.bytes.count)
      }
      let manifest = Manifest(entries: [], refused: [], attempt: AttemptFiles(id: attempt, files: files))
      manifests[attempt] = manifest
      records.append(DumplessRun(run: run, attempt: attempt, manifest: manifest, logs: logs))
    }
    let byteCount = records.reduce(0) { $1.logs.reduce($0) { $0 + $1.bytes.count } }
    try store.reserve(bytes: byteCount, floor: limits.freeSpaceFloor)
    for run in try store.layOut(records, sweep: sweep) { manifests[run.attempt] = nil }
    return manifests
  }

  /// Asks another machine, in one command. What is unusual is found out when each is gathered by itself.
  private static func ask(
    _ transport: any Transport, parent: String, _ attempts: some Collection<String>
  ) async throws(GatheringError) -> [String: [Log]] {
    let command = HostCommand(in: parent, script: script(attempts.sorted(), mostBytes: shortBytes))
    let result: CommandResult
    do {
      result = try await transport.run(command.text, input: [], limit: 64 << 20, timeout: .seconds(300))
    } catch {
      throw GatheringError(error)
    }
    return command.answer(in: result.output).flatMap(parse) ?? [:]
  }

  /// The same on this machine.
  private static func local(parent: String, _ attempts: some Collection<String>) -> [String: [Log]] {
    var found: [String: [Log]] = [:]
    for attempt in attempts {
      let directory = "\(parent)/\(attempt)"
      guard let facts = try? FileSystem.status(directory), FileSystem.isDirectory(facts),
        FileSystem.isEmptyDirectory(directory + "/dumps"), let logs = logs(in: directory)
      else { continue }
      found[attempt] = logs
    }
    return found
  }

  /// nil where one is too long, or cannot be read.
  private static func logs(in directory: String) -> [Log]? {
    var logs: [Log] = []
    for name in AttemptFiles.names {
      let path = "\(directory)/\(name)"
      // A pipe in the place of a log would keep us.
      let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
      guard descriptor >= 0 else {
        // What is no file of ours is as good as not there.
        if errno == ENOENT || errno == ELOOP || errno == ENXIO || errno == EACCES { continue }
        return nil
      }
      defer { close(descriptor) }
      var facts = stat()
      guard fstat(descriptor, &facts) == 0 else { return nil }
      guard FileSystem.isRegular(facts) else { continue }
      guard facts.st_size <= shortBytes else { return nil }
      var isWhole = true
      let bytes = [UInt8](unsafeUninitializedCapacity: Int(facts.st_size)) { buffer, count in
        count = 0
        while count < buffer.count {
          let got = read(descriptor, buffer.baseAddress.map { $0 + count }, buffer.count - count)
          if got < 0, errno == EINTR { continue }
          guard got > 0 else {
            isWhole = false
            return
          }
          count += got
        }
      }
      guard isWhole else { return nil }
      logs.append((name, bytes))
    }
    return logs
  }

  private static func isWord(_ name: String) -> Bool {
    !name.isEmpty && !name.hasPrefix("-")
      && name.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_" || $0 == "-") }
  }

  /// A longer log is fetched by itself, in part.
  private static let shortBytes = 64 << 10

  /// Prints `- ATTEMPT` for each that has no dumps and no long log, `SIZE ATTEMPT/NAME` for each of its files, an empty
  /// line, and the files' bytes. Two programs for all of them; long lists grow by pieces, since a shell copies what it
  /// adds to.
  private static func script(_ attempts: [String], mostBytes: Int) -> String {
    """
    files= part= count=0
    for a in \(attempts.joined(separator: " ")) -; do
      count=$((count + 1))
      if [ $((count % 16)) -eq 0 ] || [ "$a" = - ]; then files="$files$part" part=; fi
      [ ! -L "$a" ] && [ -d "$a/dumps" ] && [ ! -L "$a/dumps" ] && [ -r "$a/dumps" ] && [ -x "$a/dumps" ] || continue
      for f in "$a"/dumps/* "$a"/dumps/.[!.]* "$a"/dumps/..?*; do
        [ ! -e "$f" ] && [ ! -L "$f" ] || continue 2
      done
      for f in \(AttemptFiles.names.joined(separator: " ")); do
        if [ -f "$a/$f" ] && [ ! -L "$a/$f" ] && [ -r "$a/$f" ]; then part="$part $a/$f"; fi
      done
    done
    taken=
    if [ -n "$files" ]; then
      sizes=$(stat -c '%n %s' $files) || exit 43
      set -- $sizes -
      while [ $# -gt 2 ]; do
        a=${1%/*} own= list= is_short=1
        while [ "${1%/*}" = "$a" ]; do
          [ "$2" -le \(mostBytes) ] || is_short=
          own="$own $1" list="$list $2 $1"
          shift 2
        done
        [ -n "$is_short" ] || continue
        printf -- '- %s\\n' "$a"
        printf '%s %s\\n' $list
        part="$part$own"
        [ ${#part} -lt 4000 ] || taken="$taken$part" part=
      done
    fi
    echo
    taken="$taken$part"
    [ -z "$taken" ] || cat -- $taken || exit 43

    """
  }

  /// nil where it is not what the script prints, or a file changed meanwhile.
  private static func parse(_ answer: ArraySlice<UInt8>) -> [String: [Log]]? {
    var found: [String: [Log]] = [:]
    var files: [(attempt: String, name: String, byteCount: Int)] = []
    var rest = answer
    while true {
      guard let end = rest.firstIndex(of: UInt8(ascii: "\n")) else { return nil }
      let line = rest[..<end]
      rest = rest[(end + 1)...]
      if line.isEmpty { break }
      let words = String(decoding: line, as: UTF8.self).split(separator: " ", omittingEmptySubsequences: false)
      guard words.count == 2 else { return nil }
      if words[0] == "-" {
        found[String(words[1])] = []
        continue
      }
      let path = words[1].split(separator: "/", omittingEmptySubsequences: false)
      guard let byteCount = Int(words[0]), byteCount >= 0, byteCount <= shortBytes, path.count == 2,
        found[String(path[0])] != nil, AttemptFiles.names.contains(String(path[1]))
      else { return nil }
      files.append((String(path[0]), String(path[1]), byteCount))
    }
    for file in files {
      guard rest.count >= file.byteCount else { return nil }
      found[file.attempt]?.append((file.name, Array(rest.prefix(file.byteCount))))
      rest = rest.dropFirst(file.byteCount)
    }
    return rest.isEmpty ? found : nil
  }
}

typealias Log = (name: String, bytes: [UInt8])

/// One run that left nothing but logs.
struct DumplessRun {
  var run: String
  var attempt: String
  var manifest: Manifest
  var logs: [Log]
}

extension ArtifactStore {
  /// Lays many runs out that the store does not know yet: all of their bytes are sent to disk together before any of
  /// them gets its manifest, and the names of these before it returns.
  /// - Returns: Those that were left alone, since the store holds something of them already.
  func layOut(_ runs: [DumplessRun], sweep: String) throws(GatheringError) -> [DumplessRun] {
    var left: [DumplessRun] = []
    var manifests: [String] = []
    for run in runs {
      let directory = try runDirectory(sweep: sweep, run: run.run)
      if let parent = FileSystem.parent(of: directory) { try FileSystem.makeDirectory(parent, below: root) }
      guard mkdir(directory, 0o777) == 0 else {
        if errno != EEXIST { throw FileSystem.failure("make the directory", directory) }
        left.append(run)
        continue
      }
      let attempt = try attemptDirectory(sweep: sweep, run: run.run, attempt: run.attempt)
      try FileSystem.makeDirectory(attempt, below: directory)
      for log in run.logs { try FileSystem.write(log.bytes, toNew: "\(attempt)/\(log.name)") }
      let path = "\(directory)/manifest.json"
      try FileSystem.write(try StoredManifest.bytes(run.manifest, path: path), toNew: path + ".part")
      manifests.append(path)
    }
    guard !manifests.isEmpty else { return left }
    try FileSystem.syncAll(at: root)
    for path in manifests where rename(path + ".part", path) != 0 { throw FileSystem.failure("rename", path + ".part") }
    try FileSystem.syncAll(at: root)
    return left
  }
}

extension FileSystem {
  /// Whether there is a directory, no link, that can be read and holds nothing.
  fileprivate static func isEmptyDirectory(_ path: String) -> Bool {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)
    guard descriptor >= 0 else { return false }
    guard let directory = fdopendir(descriptor) else {
      close(descriptor)
      return false
    }
    defer { closedir(directory) }
    errno = 0
    var count = 0
    while readdir(directory) != nil { count += 1 }
    // `.` and `..`
    return errno == 0 && count == 2
  }

  fileprivate static func write(_ bytes: [UInt8], toNew path: String) throws(GatheringError) {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o644)
    guard descriptor >= 0 else { throw failure("make the file", path) }
    defer { close(descriptor) }
    try write(bytes[...], to: descriptor, path: path)
  }

  /// Sends everything in the file system of a path to disk.
  fileprivate static func syncAll(at path: String) throws(GatheringError) {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure("open the directory", path) }
    defer { close(descriptor) }
    if try !syncAll(descriptor, path: path) { sync() }
  }
}

extension AttemptFiles {
  /// What is kept of an attempt beside its dumps.
  fileprivate static let names = ["stdout.log", "stderr.log", "exit.json", "identity"]
}
