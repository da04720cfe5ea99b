import Glibc

/// Makes a write to a pipe that nobody reads an error (`EPIPE`) in place of the end of this process.
///
/// A handler that does nothing, not `SIG_IGN`: handlers are reset in the programs that we start, so these still end
/// on a broken pipe as they should. A handler that is set already stays.
enum BrokenPipe {
  static let isSurvived: Bool = {
    var current = sigaction()
    guard sigaction(SIGPIPE, nil, &current) == 0 else { return false }
    if current.__sigaction_handler.sa_handler == nil {
      current.__sigaction_handler.sa_handler = { _ in }
      return sigaction(SIGPIPE, &current, nil) == 0
    }
    return true
  }()
}
