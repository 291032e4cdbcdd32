"""An RTSP camera on the loopback address: JPEG at /jpeg, H.264 at /h264; prints its port.

Usage: rtsp.py PORT (0 for a free one)
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

SOURCE = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=96,height=96,framerate=20/1"
STREAMS = {
    "/jpeg": "video/x-raw,format=I420 ! jpegenc ! rtpjpegpay name=pay0",
    "/h264": "x264enc tune=zerolatency key-int-max=10 ! rtph264pay name=pay0",
}

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
for path, encoder in STREAMS.items():
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {SOURCE} ! videoconvert ! {encoder} )")
    factory.set_shared(True)
    server.get_mount_points().add_factory(path, factory)
if server.attach(None) == 0:
    sys.exit(f"cannot listen on port {sys.argv[1]}")
print("port", server.get_bound_port(), flush=True)
GLib.MainLoop().run()
