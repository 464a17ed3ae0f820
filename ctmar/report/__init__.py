"""What people look at: image panels and sinogram panels."""
