import Glibc

/// Splits one stream of concatenated files by the manifest's sizes, and puts each into the store when its hash is right.
///
/// The first file whose bytes are wrong ends the batch: whether it changed itself or a change shifted what follows,
/// everything before it is whole and everything after it is not looked at.
actor BatchReceiver {
  /// Why the stream was given up.
  enum Stop: Error {
    /// The bytes of the file at this index are not those the manifest states.
    case wrong(index: Int, wasResumed: Bool)
    /// The store or the answer failed; trying again does not help.
    case failed(GatheringError)
  }

  private let store: ArtifactStore
  private let entries: [ManifestEntry]
  private let marker: [UInt8]
  /// Bytes before the marker; nil once it was seen.
  private var noise: [UInt8]? = []
  private var index = 0
  private var part: PartFile?
  /// Right by their hashes, not yet on disk and in the store.
  private var whole: [PartFile] = []
  private var wholeBytes = 0
  private(set) var stop: Stop?
  /// Dump bytes seen.
  private(set) var bytesReceived = 0
  private var bytesExpected: Int

  /// Files that are whole; in the store once `close` returns.
  var finished: Int { index }

  /// - Parameter first: The first entry's part where it is gone on with.
  init(entries: [ManifestEntry], resuming first: sending PartFile?, marker: [UInt8], store: ArtifactStore) {
    self.store = store
    self.entries = entries
    self.marker = marker
    bytesExpected = entries.reduce(0) { $0 + $1.byteCount } - (first?.written ?? 0)
    part = first
  }

  func take(_ bytes: [UInt8]) throws(Stop) {
    if let stop { throw stop }
    guard var noise else { return try split(bytes[...]) }
    noise += bytes
    guard let start = HostCommand.find(marker, in: noise[...]) else {
      self.noise = noise
      if noise.count > 1 << 20 {
        try fail(GatheringError(code: .listing, message: "the host prints over 1 MiB of noise before its answer"))
      }
      return
    }
    self.noise = nil
    try split(noise[(start + marker.count)...])
  }

  /// Ends the batch after the stream did, finishing what needs no more bytes.
  /// - Returns: True where every file is in the store and the stream held nothing but them.
  func end() throws(Stop) -> Bool {
    if let stop { throw stop }
    guard noise == nil else { return false }
    try split([])
    return index == entries.count && trailing == marker
  }

  /// Keeps a cut file's bytes for the next transfer, and lets the store's names outlive a power cut.
  func close() throws(GatheringError) {
    if case .failed(let error) = stop, error.code == .noSpace { part?.discard() } else { part?.keep() }
    part = nil
    try commitWhole()
    if index > 0 { try FileSystem.syncDirectory(store.objectsPath) }
  }

  /// Sends whole files to disk together, which costs one wait for many, and then gives them their names.
  private func commitWhole() throws(GatheringError) {
    var files = whole[...]
    whole = []
    wholeBytes = 0
    do throws(GatheringError) {
      let isOnDisk = if files.count > 4, let first = files.first { try first.syncFileSystem() } else { false }
      while let file = files.first {
        try file.commit(isOnDisk: isOnDisk)
        files.removeFirst()
      }
    } catch {
      for file in files { file.discard() }
      throw error
    }
  }

  /// What came after the last file; at the end of a whole answer, the marker.
  private var trailing: [UInt8] = []

  private func split(_ bytes: ArraySlice<UInt8>) throws(Stop) {
    var rest = bytes
    while index < entries.count {
      let entry = entries[index]
      let file: PartFile
      do throws(GatheringError) {
        if let part {
          file = part
        } else {
          file = try PartFile(sha256: entry.sha256, byteCount: entry.byteCount, resuming: false, store: store)
          part = file
        }
        let piece = rest.prefix(file.remaining)
        if !piece.isEmpty {
          try file.append(piece)
          bytesReceived += piece.count
          rest = rest.dropFirst(piece.count)
        }
      } catch {
        try fail(error)
        return
      }
      if file.remaining > 0 { return }
      guard file.isRight() else {
        file.discard()
        part = nil
        let stop = Stop.wrong(index: index, wasResumed: file.isResumed)
        self.stop = stop
        throw stop
      }
      do throws(GatheringError) { try file.seal() } catch { try fail(error) }
      part = nil
      index += 1
      whole.append(file)
      wholeBytes += file.byteCount
      if whole.count >= 256 || wholeBytes >= 32 << 20 {
        do throws(GatheringError) { try commitWhole() } catch { try fail(error) }
      }
    }
    trailing += rest.prefix(marker.count + 1 - min(trailing.count, marker.count + 1))
  }

  private func fail(_ error: GatheringError) throws(Stop) {
    stop = .failed(error)
    throw .failed(error)
  }
}
