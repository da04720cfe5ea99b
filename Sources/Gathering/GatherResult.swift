/// What a gather did.
public struct GatherResult: Sendable, Hashable {
  /// What the store now holds of the run.
  public var manifest: Manifest
  /// Dump bytes that came over the transport, those of cut transfers included.
  public var bytesTransferred: Int
  /// Dump bytes of the run that did not need to come: held already, or equal to another of its files.
  public var bytesDeduplicated: Int
  public var duration: Duration

  public var entries: [ManifestEntry] { manifest.entries }
  /// Names refused and why.
  public var refused: [String] { manifest.refused }
}
